// What plays. From gr.HTML: element, props and watch. props.value is what model.py's facts_of gives.

const NAMES = { checkpoint: "Checkpoint", revision: "Revision", device: "Device", loras: "LoRA" };

function show() {
  if (!props.value) return;
  const { loras, steps, guidance, scheduler } = props.value;
  const shown = { ...props.value, loras: loras.join(", ") || say("none") };
  element.querySelector(".plays").replaceChildren(...Object.entries(NAMES).flatMap(([name, title]) => {
    const [term, fact] = ["dt", "dd"].map((tag) => document.createElement(tag));
    [term.textContent, fact.textContent] = [say(title), shown[name]];
    return [term, fact];
  }));
  const advice = `${say("Steps")} ${steps}, ${say("Guidance")} ${guidance}, ${scheduler}`;
  element.querySelector(".advice").textContent = say("Left blank: {}", advice);
}

watch("value", show);
show();
