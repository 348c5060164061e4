// Chips that write words into a prompt. From gr.HTML: element, props, trigger and watch.
// props.value is {groups: [{kind, words}]}, and once a chip was pressed {chosen: {kind, word}}.

const TITLES = { instruments: "Instruments", genres: "Genres", moods: "Moods", tempos: "Tempo", ambiences: "Sounds" };
const groups = element.querySelector(".groups");
let shown = "";

function show() {
  const given = JSON.stringify(props.value?.groups ?? []);
  if (given === shown) return;
  shown = given;
  groups.replaceChildren();
  for (const { kind, words } of props.value.groups) {
    if (!words.length) continue;
    const title = document.createElement("h3"), chips = document.createElement("div");
    title.textContent = say(TITLES[kind]);
    chips.className = "chips";
    for (const word of words) {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = word;
      chip.addEventListener("click", () => {
        props.value = { ...props.value, chosen: { kind, word } };
        trigger("select");
      });
      chips.append(chip);
    }
    groups.append(title, chips);
  }
}

watch("value", show);
show();
