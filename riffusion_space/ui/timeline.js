// Sections as blocks, as wide as their bars and as high as their energy, and an editor for the chosen one. From gr.HTML:
// element, props, trigger and watch. From timeline.py: facts. props.value is {sections, chosen, bpm}, and {anew} once a
// section is to be made anew, told by "retry"; "select" tells that a piece came with its own bpm. The page tells of
// another tempo by window.riffusionTimeline.

const find = (name) => element.querySelector(`.${name}`);
const fields = ["name", "bars", "energy", "transition", "prompt", "seed"];
let sections = [];
let chosen = 0;
let bpm = 0; // by which it tells how long they are
let typing = ""; // the field that is being typed into: all that is one step for Undo
const past = []; // what Undo goes back to: {sections, chosen}, and the bpm where that changes as well
let given = ""; // what was last shown or told, as JSON

const MOST_PAST = 100;
const TYPED = ["name", "bars", "prompt", "seed"];

const blank = { name: "verse", bars: 4, prompt: "", energy: "medium", transition: "crossfade" };
const colour = (section) => facts.colours[section.name] ?? facts.colours.other;

function options(select, values) {
  select.replaceChildren(...values.map((value) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = say(value);
    return option;
  }));
}
const barsOf = (count) => `${count} ${say(count === 1 ? "bar" : "bars")}`;

function drawBlocks() {
  const blocks = find("blocks"), focused = blocks.contains(element.getRootNode().activeElement);
  blocks.replaceChildren(...sections.map((section, index) => {
    const block = document.createElement("button"), room = document.createElement("span"), fill = document.createElement("span");
    block.type = "button";
    block.className = `block ${index ? section.transition : "cut"}`;
    block.style.flexGrow = section.bars;
    block.style.setProperty("--colour", colour(section));
    if (index) block.style.setProperty("--before", colour(sections[index - 1]));
    block.setAttribute("aria-pressed", index === chosen);
    block.title = [section.name, barsOf(section.bars), say(section.energy), section.prompt].filter(Boolean).join(", ");
    block.setAttribute("aria-label", block.title);
    for (const [name, text] of [["called", section.name], ["long", String(section.bars)]]) {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      block.append(span);
    }
    room.className = "room";
    fill.className = "fill";
    fill.style.height = `${28 + 18 * facts.energies.indexOf(section.energy)}%`;
    room.append(fill);
    block.append(room);
    block.addEventListener("click", () => choose(index));
    return block;
  }));
  if (focused) blocks.children[chosen]?.focus();
  const bars = sections.reduce((sum, { bars }) => sum + bars, 0);
  const seconds = bpm > 0 ? ` · ${((bars * 240) / bpm).toFixed(1)} s` : "";
  find("total").textContent = `${barsOf(bars)}${seconds}`;
  find("earlier").disabled = chosen === 0;
  find("later").disabled = chosen === sections.length - 1;
  find("remove").disabled = sections.length === 1;
  find("add").disabled = sections.length >= facts.most;
  find("undo").disabled = !past.length;
}

function fillEditor() {
  for (const name of fields) find(name).value = sections[chosen][name] ?? "";
  find("transition").disabled = chosen === 0;
}

function tell(more = {}) {
  given = JSON.stringify(sections);
  const { anew, ...rest } = props.value ?? {};
  props.value = { ...rest, sections, chosen, ...more };
}

/** What is there now can be had back. */
function remember(more = {}) {
  past.push({ sections, chosen, ...more });
  if (past.length > MOST_PAST) past.shift();
  typing = "";
}

function choose(index) {
  typing = "";
  chosen = Math.min(Math.max(index, 0), sections.length - 1);
  fillEditor();
  drawBlocks();
}

function arrange(changed, index) {
  remember();
  sections = changed;
  choose(index);
  tell();
}

function edit(name, value) {
  const section = { ...sections[chosen] };
  if (name === "bars" || name === "seed") {
    const number = value.trim() === "" ? NaN : Number(value);
    const highest = name === "bars" ? 64 : 4294967295, lowest = name === "bars" ? 1 : 0;
    if (Number.isInteger(number) && lowest <= number && number <= highest) section[name] = number;
    else if (name === "seed" && value.trim() === "") delete section.seed;
    else return; // half typed: what was there stays
  } else {
    if (name === "name" && !value.trim()) return;
    section[name] = value;
  }
  if (typing !== name) remember();
  if (TYPED.includes(name)) typing = name;
  sections = sections.with?.(chosen, section) ?? sections.map((each, index) => (index === chosen ? section : each));
  drawBlocks();
  tell();
}

for (const name of fields) {
  find(name).addEventListener("input", (event) => edit(name, event.target.value));
  find(name).addEventListener("blur", () => {
    typing = "";
    fillEditor();
  });
}

const moved = (by) => {
  const changed = [...sections];
  changed.splice(chosen + by, 0, ...changed.splice(chosen, 1));
  arrange(changed, chosen + by);
};
find("earlier").addEventListener("click", () => moved(-1));
find("later").addEventListener("click", () => moved(1));
find("add").addEventListener("click", () => {
  const { seed, ...like } = sections[chosen] ?? blank;
  arrange([...sections.slice(0, chosen + 1), like, ...sections.slice(chosen + 1)], chosen + 1);
});
find("remove").addEventListener("click", () => arrange(sections.filter((_, index) => index !== chosen), chosen - (chosen === sections.length - 1)));
find("anew").addEventListener("click", () => {
  typing = "";
  edit("seed", String(Math.floor(Math.random() * 4294967296)));
  fillEditor();
  tell({ anew: chosen + 1 });
  trigger("retry");
});
/** Put a whole piece in place of what is there; where it has a tempo, "select" has the page take that. */
function begin(piece) {
  sections = piece.sections.map((section) => ({ ...blank, ...section }));
  if (piece.bpm) bpm = piece.bpm;
  choose(piece.chosen ?? 0);
  tell({ bpm });
  if (piece.bpm) trigger("select");
}
onChoice(find("preset"), () => {
  const piece = facts.presets[find("preset").selectedIndex - 1];
  find("preset").selectedIndex = 0;
  remember({ bpm });
  begin(piece);
});
find("undo").addEventListener("click", () => {
  begin(past.pop());
  if (!past.length) find("blocks").children[chosen].focus(); // a button that can do no more keeps no focus
});

window.riffusionTimeline = {
  tempo(told) {
    bpm = told;
    drawBlocks();
  },
};

function show() {
  const now = JSON.stringify(props.value?.sections ?? []);
  if (now !== given && props.value?.sections?.length) {
    given = now;
    if (sections.length) remember({ bpm });
    if (props.value.bpm > 0) bpm = props.value.bpm;
    sections = props.value.sections.map((section) => ({ ...blank, ...section }));
    choose(props.value.chosen ?? 0);
  }
}

options(find("preset"), ["", ...facts.presets.map(({ title }) => title)]);
find("preset").options[0].textContent = say("a ready-made piece");
options(find("energy"), facts.energies);
options(find("transition"), facts.transitions);
find("seed").placeholder = say("as the piece");
find("prompt").placeholder = say("anything");
element.querySelector("datalist").replaceChildren(...facts.names.map((name) => Object.assign(document.createElement("option"), { value: name })));
watch("value", show);
show();
