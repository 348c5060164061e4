// What is on the page survives that Gradio loads it anew. From gr.HTML: element and trigger; from connection.py: facts.
//
// Gradio's page does that when its connection broke: any request that fails for the network's sake, even one that
// nobody sees, puts up "Connection Lost", stops all events for good, asks every two seconds whether the server is back,
// and then calls location.reload(). It keeps nothing of what was there, and cannot be told not to. The same happens
// when a phone throws out a tab that it does not show. So whatever can be set is noted in the browser's sessionStorage,
// which lasts as long as the tab, and put back.

const KEEP = { __type__: "update" }; // for Gradio: no change
const NOTED_AFTER_MS = 300;
const SEEN_EVERY_MS = 5000;
const KEPT_MS = facts.keptSeconds * 1000; // by the server
const PRESS_TRIES = 100;

/** Something of this tab that outlasts the page, where the browser allows that. */
function stored(name, value) {
  try {
    if (value === undefined) return JSON.parse(sessionStorage.getItem(`riffusion ${name}`));
    sessionStorage.setItem(`riffusion ${name}`, JSON.stringify(value));
  } catch {
    return null; // it keeps nothing, or not as much
  }
}

const ticket = stored("ticket") ?? [...crypto.getRandomValues(new Uint8Array(16))].join("-");
stored("ticket", ticket);

const before = { fields: stored("fields"), tab: stored("tab"), task: stored("task"), seen: stored("seen") ?? 0,
                 broke: stored("broke") };
const isOld = Date.now() - before.seen > KEPT_MS;
let task = null; // that is under way
let tab = before.tab;
let leaving = false;
let noting = 0;
stored("task", null);
stored("broke", false);

/** Note soon what is set; the answer is `note`. */
function noteSoon() {
  clearTimeout(noting);
  noting = setTimeout(() => element.isConnected && trigger("note"), NOTED_AFTER_MS);
}

function note(values) {
  stored("fields", { kind: facts.kind, values });
  return [];
}

function began(name) {
  task = name;
  stored("task", task);
  stored("seen", Date.now());
  noteSoon();
}

function ended(name) {
  if (task !== name) return;
  task = null;
  stored("task", null);
}

/** What was there before the page was loaded anew, as values of all that can be set; null where nothing was lost. */
function restored() {
  const { fields } = before;
  if ((!before.task && !before.broke) || fields?.kind !== facts.kind) return null;
  window.riffusionConnection.isBack = true;
  window.riffusion.regionsOf = "*"; // what was marked stays on the sound that comes back
  const open = facts.tabs[before.task] ?? before.tab;
  tell(say(before.task && !isOld
    ? "The page was loaded anew, as the connection broke. What you asked for goes on."
    : "The page was loaded anew, as the connection broke. What you had entered is still there."));
  return [open ? { ...KEEP, selected: open } : KEEP, ...fields.values.map((value) => value ?? KEEP)];
}

/** Tell the server which page this is, and what it waits for. */
function arrive() {
  trigger("arrive", { ticket, task: isOld ? "" : before.task ?? "" });
}

/** Once it knows: ask for the same again, which is what is being made already, or was. */
async function resume() {
  if (!before.task || isOld || before.fields?.kind !== facts.kind) return;
  for (let tries = 0; tries < PRESS_TRIES && !task; tries += 1) {
    const button = document.getElementById(`${before.task}-generate`);
    if (button) return button.click();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function tell(text) {
  element.querySelector("p").textContent = text;
  element.querySelector(".notice").hidden = !text;
}

element.querySelector("button").addEventListener("click", () => tell(""));
for (const name of ["input", "change", "click", "drop"]) document.addEventListener(name, noteSoon, true);
setInterval(() => task && stored("seen", Date.now()), SEEN_EVERY_MS);

// Of a broken connection Gradio tells nobody. What it was about is seen in what its page asks for.
const { fetch } = window;
window.fetch = (...request) => {
  const answer = fetch(...request);
  answer.catch((error) => error.name === "AbortError" || leaving || stored("broke", true));
  return answer;
};
for (const name of ["beforeunload", "pagehide"]) addEventListener(name, () => (leaving = true));
addEventListener("pageshow", () => (leaving = false));

window.riffusionConnection = {
  note, began, ended, restored, arrive, resume,
  opened: (name) => {
    tab = name;
    stored("tab", tab);
  },
};
