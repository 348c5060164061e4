// What the browser does around a request. Below title.js. Gradio takes a button off the page while another stands in
// its place, so whether a task is free, and where its tab is, is seen by its buttons.

const LOOK_MS = 50;
const GONE_MS = 1000; // a button that was pressed has left by then, if it leaves at all
const STILL = 3; // looks, each of 100 ms, at which a result has not moved

const sent = {}; // by task, as all that follows: the inputs that are on their way
const made = {}; // the inputs of the result that is there
const wanted = {}; // {names: of the buttons that are to be pressed once the task is free, seenTo: whether that is seen to}
const begun = {}; // when Generate was last pressed
const variations = {}; // {of: the inputs, left: how many are still to come}
let scrolled = 0; // when the visitor last did

const button = (task, name) => document.getElementById(`${task}-${name}`);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function there(find, milliseconds = Infinity) {
  for (const start = performance.now(); performance.now() - start < milliseconds; await pause(LOOK_MS)) {
    const found = find();
    if (found) return found;
  }
  return null;
}

function resultOf(task) {
  return (button(task, "generate") ?? button(task, "cancel"))?.closest(".tabitem")?.querySelector(".result");
}

/** One button gives way to another: who is on the one is taken to the other. */
async function moveFocus(task, from, to) {
  const focused = document.activeElement;
  if (!focused || focused.id !== `${task}-${from}`) return;
  const next = await there(() => button(task, to), 5000);
  const lost = [focused, document.body, null].includes(document.activeElement); // else they went elsewhere meanwhile
  if (next && lost) next.focus({ preventScroll: true });
}

/** Press a button of a task once nothing else of it runs. All that waits is pressed in turn, each once. */
async function pressed(task, name) {
  const waiting = (wanted[task] ??= { names: [], seenTo: false });
  if (!waiting.names.includes(name)) waiting.names.push(name);
  if (waiting.seenTo) return;
  waiting.seenTo = true;
  while (waiting.names.length) {
    const free = await there(() => !waiting.names.length || button(task, "generate"));
    if (!waiting.names.length) break; // Cancel was pressed
    button(task, waiting.names.shift()).click();
    await there(() => !free.isConnected, GONE_MS);
  }
  waiting.seenTo = false;
}

for (const name of ["wheel", "touchmove", "keydown"]) {
  window.addEventListener(name, ({ key }) => {
    if (!key || ["PageUp", "PageDown", "Home", "End", "ArrowUp", "ArrowDown"].includes(key)) scrolled = performance.now();
  }, { passive: true, capture: true });
}

// The one place where a screen reader hears what has come of it.
const spoken = document.createElement("p");
spoken.id = "spoken";
spoken.setAttribute("role", "status");
document.querySelector(".gradio-container").append(spoken);

window.riffusionRun = {
  title: titleOfSettings,

  announce(text) {
    spoken.textContent = ""; // the same words again are news as well
    setTimeout(() => (spoken.textContent = text), 100);
  },

  /** What was `asked` for by the fields is also remembered, for the case that the connection breaks (connection.py). */
  begin(task, asked) {
    if (asked) window.riffusionConnection?.began(task);
    begun[task] = performance.now();
    moveFocus(task, "generate", "cancel");
  },

  end(task) {
    window.riffusionConnection?.ended(task);
    moveFocus(task, "cancel", "generate");
  },

  /** As Generate, or once what runs has ended. */
  press(task) {
    pressed(task, "generate");
  },

  sent(task, values) {
    sent[task] = values;
    return values;
  },

  /** On a phone, what was made stands below the examples and the settings. It is scrolled to, if its tab is open and
   * the visitor looks at nothing else, once it no longer moves: what is above it goes away, and itself it grows, in
   * steps of Gradio's own. */
  async made(task) {
    made[task] = sent[task];
    const result = resultOf(task);
    let place, still = 0;
    while (still < STILL) {
      if (!result?.offsetParent || scrolled > begun[task]) return;
      await pause(100);
      const { top, height } = result.getBoundingClientRect();
      const now = `${top + window.scrollY} ${height}`;
      still = now === place ? still + 1 : 0;
      place = now;
    }
    result.scrollIntoView({ behavior: "smooth", block: "nearest" });
  },

  /** The same result again with other seeds, so many times, one after the other. */
  vary(task, times) {
    variations[task] = { of: made[task], left: times };
    pressed(task, "vary");
  },

  /** The inputs of the next variation; `at` says where in them the seed stands, and others that concern it. */
  variation(task, at) {
    const { of } = variations[task], values = [...of], anew = of[at.anew];
    variations[task].left -= 1;
    values[at.seed] = null;
    if (anew) { // the one section that is made has a seed of its own
      values[at.sections] = of[at.sections].map((section, index) => (index === anew - 1 ? { ...section, seed: null } : section));
    }
    return values;
  },

  /** A variation is there: the next is due. It takes the place of the result that it is one of, unless that is being
   * listened to. */
  varied(task, player, values) {
    if (variations[task].left > 0) pressed(task, "vary");
    const gone = made[task] !== variations[task].of;
    if (!gone && !resultOf(task)?.querySelector(".player.playing")) return [player, ...values];
    const settings = values.at(-1);
    this.announce(`${say("Your results")}: ${[titleOfSettings(settings), say("seed {}", settings.seed)].filter(Boolean).join(", ")}`);
    return [player, ...values].map(() => ({ __type__: "update" }));
  },

  /** No more variations. */
  stop(task) {
    if (variations[task]) variations[task].left = 0;
  },

  /** Nothing more of what was to come. */
  drop(task) {
    this.stop(task);
    if (wanted[task]) wanted[task].names.length = 0;
  },
};
