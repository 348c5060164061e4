// What goes from one tab to another. From exchange.py: facts, which name the tabs' fields in the order in which
// Gradio sets them: {task, name, kind, choices, otherwise}. A field without a task is that of all. facts.sounds are
// those whose settings are names of files: {task, name, choices}, and the choices are built in.

const KEEP = { __type__: "update" }; // for Gradio: no change

const COPIED_MS = 1500;
const ANY = "*"; // a file of any name

const fits = {
  number: (value) => Number.isFinite(value),
  boolean: (value) => typeof value === "boolean",
  text: (value) => typeof value === "string",
  choice: (value, field) => field.choices.includes(value),
  sections: (value) => Array.isArray(value) && value.length > 0,
  regions: (value) => Array.isArray(value) && value.every((each) => Array.isArray(each) && each.every(Number.isFinite)),
};

/** What a link holds of a list. */
function listOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const isOf = (field, task) => !field.task || field.task === task;

function filled(field, settings) {
  let value = settings[field.name];
  if (field.kind === "sections") {
    if (typeof value === "string") value = listOf(value);
    return fits.sections(value) ? { sections: value, chosen: 0, bpm: Number(settings.bpm) } : KEEP;
  }
  if (field.kind === "regions" && typeof value === "string") {
    value = value.split(";").map((each) => each.split(",").map(Number)); // out of a link
  } else if (field.kind !== "text" && field.kind !== "choice" && typeof value === "string") {
    value = { true: true, false: false }[value] ?? (value.trim() ? Number(value) : value); // out of a link
  }
  return fits[field.kind](value, field) ? value : field.otherwise;
}

/** Settings with the fields that hold their regions: the numbers of one, and the others. */
function spread(settings) {
  if (!settings?.regions?.length) return settings;
  const kept = settings.regions.slice(0, -1), [start, end, low, high] = settings.regions.at(-1);
  return { ...settings, start, end, low, high, kept };
}

/** The files that settings name, which are not among them: [task, name, file]. */
function filesOf(task, settings) {
  const named = facts.sounds.map(({ name, choices, task: its }) => [its, name, choices.includes(settings?.[name]) ? "" : settings?.[name]]);
  return named.filter(([its, , file]) => its === task && file && typeof file === "string");
}

/**
 * The values of everything that can be set: the open tab, all fields, where each tab takes a sound, what hides that, and
 * which files are needed. Opens `task`'s tab, or that of the settings, and puts the settings or the sound there.
 */
function go({ task, sound, settings }) {
  task ||= settings?.task;
  const count = 2 + facts.fields.length + facts.tasks.length + facts.folded.length;
  if (!facts.tasks.includes(task)) return Array(count).fill(KEEP);
  settings = spread(settings);
  const files = filesOf(task, settings);
  if (settings?.start !== undefined) window.riffusion.regionsOf = settings.audio || ANY;
  return [
    { ...KEEP, selected: task },
    ...facts.fields.map((field) => (settings && isOf(field, task) ? filled(field, settings) : KEEP)),
    ...facts.tasks.map((each) => (sound && each === task ? sound : KEEP)),
    ...facts.folded.map((each) => ((sound || files.length) && each === task ? { ...KEEP, open: true } : KEEP)),
    files,
  ];
}

/** An address of this page that asks for the same again. */
function link(settings) {
  const address = new URL(location.pathname, location.origin);
  for (const [name, given] of Object.entries(spread(settings) || {})) {
    const value = name === "kept" ? given.map(String).join(";") : given;
    const known = name === "task" || [...facts.fields, ...facts.sounds].some((field) => field.name === name && isOf(field, settings.task));
    if (known && (value ?? "") !== "") {
      address.searchParams.set(name, Array.isArray(value) ? JSON.stringify(value) : value);
    }
  }
  return address.href;
}

/** Copy a link to these settings; what the button says then, and after a while again. */
async function copyLink(settings) {
  const address = link(settings);
  try {
    await navigator.clipboard.writeText(address);
  } catch {
    prompt(say("Copy this link:"), address); // over plain http the browser has no clipboard
  }
  return { ...KEEP, value: say("Copied") };
}

async function copiedLink() {
  await new Promise((resolve) => setTimeout(resolve, COPIED_MS));
  return { ...KEEP, value: say("Copy link") };
}

/** Whether the regions that are marked are meant for a sound of that name; from then on they are. */
function regionsAreFor(file) {
  const meant = [file, ANY].includes(window.riffusion.regionsOf);
  window.riffusion.regionsOf = file;
  return meant;
}

window.riffusion = { go, copyLink, copiedLink, regionsAreFor, regionsOf: null };
