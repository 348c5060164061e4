// Runs once for each canvas, below chart.js. From gr.HTML: element, props and watch. From canvas.py: facts, which never
// change, and props.value, {drawing: a PNG as a data URL}, or null for a blank canvas.

const UNDO_STEPS = 30;
const OVERTONES = 12;
const KEY_PX = 8; // that an arrow key moves the pen

const find = (name) => element.querySelector(`.${name}`);
const sheet = element.querySelector("canvas");
const ink = sheet.getContext("2d", { willReadFrequently: true });
const width = element.querySelector("input");
const choices = { tool: "line", shade: "1" };

let past = []; // what Undo goes back to
let future = [];
let shown = null; // the value that the canvas shows
let at = { x: facts.columns / 4, y: facts.rows / 2 }; // where the pen is, in the drawing's pixels
let drawing = false; // the pen of a pointer is down
let keyPen = false; // that of the keyboard is

// A drawing is nowhere but here.
addEventListener("beforeunload", (event) => {
  if (element.isConnected && past.length) event.preventDefault();
});

// The drawing -------------------------------------------------------------------------------------------------------

const snapshot = () => ink.getImageData(0, 0, facts.columns, facts.rows);

function whiten() {
  ink.globalCompositeOperation = "source-over";
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, facts.columns, facts.rows);
}

/** Before a change: what can be gone back to. */
function remember() {
  past.push(snapshot());
  if (past.length > UNDO_STEPS) past.shift();
  future = [];
}

/** After a change: hand it to the page. */
function publish(blank = false) {
  shown = blank ? null : sheet.toDataURL("image/png");
  props.value = blank ? null : { drawing: shown };
  showState();
}

function restore(from, to) {
  if (!from.length) return;
  to.push(snapshot());
  ink.putImageData(from.pop(), 0, 0);
  publish();
}

/** Heights, in pixels from the top, that a pen at a height draws at, and how dark each is, 0 to 1. */
function strokes(y) {
  const shade = Number(choices.shade);
  if (choices.tool !== "note") return [{ y, shade }];
  const lowest = frequency(1 - y / facts.rows);
  const overtones = Array.from({ length: OVERTONES }, (_, index) => index + 1).filter((n) => n * lowest < facts.mel.highest);
  // A plucked string's: the nth has an nth of the amplitude, of which the drawing shows a root.
  return overtones.map((n) => ({ y: n === 1 ? y : facts.rows * (1 - height(n * lowest)), shade: shade * n ** -facts.power }));
}

/** Move the pen, which is down, and draw on the way. */
function drawTo(to) {
  const erases = choices.tool === "eraser";
  // What is drawn adds to what is there; only the eraser takes away.
  ink.globalCompositeOperation = erases ? "source-over" : "darken";
  ink.lineCap = ink.lineJoin = "round";
  ink.lineWidth = Number(width.value);
  const [before, after] = [strokes(at.y), strokes(to.y)];
  for (const [index, { y, shade }] of after.entries()) {
    const grey = erases ? 255 : Math.round(255 * (1 - shade));
    ink.strokeStyle = `rgb(${grey}, ${grey}, ${grey})`;
    ink.beginPath();
    ink.moveTo(at.x, before[index]?.y ?? y); // one that comes in from above the scale begins here
    ink.lineTo(to.x, y);
    ink.stroke();
  }
  at = to;
}

/** Show what Python has chosen. */
async function load() {
  const address = props.value?.drawing ?? null;
  if (address === shown) return;
  shown = address;
  const image = new Image();
  if (address) {
    image.src = address;
    await image.decode();
  }
  if (shown !== address) return; // another has come since
  remember();
  whiten();
  if (address) ink.drawImage(image, 0, 0);
  showState();
}

// What is shown -----------------------------------------------------------------------------------------------------

function showState() {
  find("undo").disabled = !past.length;
  find("redo").disabled = !future.length;
  find("hint").hidden = Boolean(shown) || drawing || keyPen;
}

function tellPlace() {
  const hz = frequency(1 - at.y / facts.rows);
  const pen = keyPen ? ", pen down" : "";
  find("place").textContent = `${((at.x / facts.columns) * facts.seconds).toFixed(2)} s, ${hz} Hz${pen}`;
}

function showPen() {
  const pen = find("pen");
  pen.hidden = false;
  pen.classList.toggle("down", keyPen);
  pen.style.left = `${(100 * at.x) / facts.columns}%`;
  pen.style.top = `${(100 * at.y) / facts.rows}%`;
  tellPlace();
}

function drawAxes() {
  const box = sheet.getBoundingClientRect();
  find("seconds").replaceChildren(...timeLabels(facts.seconds, box.width));
  find("hertz").replaceChildren(...frequencyLabels(box.height));
}

// What can be done --------------------------------------------------------------------------------------------------

function pointed(event) {
  const box = sheet.getBoundingClientRect();
  return {
    x: clamp((event.clientX - box.left) / box.width, 0, 1) * facts.columns,
    y: clamp((event.clientY - box.top) / box.height, 0, 1) * facts.rows,
  };
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return;
  sheet.setPointerCapture(event.pointerId);
  liftKeyPen();
  find("pen").hidden = true;
  remember();
  drawing = true;
  at = pointed(event);
  drawTo(at); // a dot
  showState();
});

sheet.addEventListener("pointermove", (event) => {
  if (drawing && event.isPrimary) {
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) drawTo(pointed(each));
  } else if (!keyPen) {
    at = pointed(event);
  }
  if (event.pointerType !== "touch" || drawing) tellPlace();
});

function lift(event) {
  if (!drawing || !event.isPrimary) return;
  drawing = false;
  publish();
}
for (const name of ["pointerup", "pointercancel"]) sheet.addEventListener(name, lift);
sheet.addEventListener("pointerleave", () => drawing || keyPen || (find("place").textContent = ""));

function liftKeyPen() {
  if (!keyPen) return;
  keyPen = false;
  publish();
}

function movePen(right, down) {
  const to = { x: clamp(at.x + right, 0, facts.columns), y: clamp(at.y + down, 0, facts.rows) };
  if (keyPen) drawTo(to);
  at = to;
}

sheet.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  const step = event.shiftKey ? 1 : KEY_PX;
  const keys = command
    ? { z: () => restore(past, future), y: () => restore(future, past) }
    : {
        ArrowLeft: () => movePen(-step, 0),
        ArrowRight: () => movePen(step, 0),
        ArrowUp: () => movePen(0, -step),
        ArrowDown: () => movePen(0, step),
        Escape: liftKeyPen,
        " ": () => {
          if (keyPen) return liftKeyPen();
          remember();
          keyPen = true;
          drawTo(at);
          showState();
        },
      };
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
  showPen();
});
sheet.addEventListener("focus", () => sheet.matches(":focus-visible") && showPen());
sheet.addEventListener("blur", () => {
  liftKeyPen();
  find("pen").hidden = true;
});

for (const [name, group] of [["tool", "tools"], ["shade", "shades"]]) {
  const buttons = [...find(group).querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      choices[name] = button.dataset[name];
      for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    });
  }
}
for (const button of find("shades").querySelectorAll("button")) {
  const grey = Math.round(255 * (1 - button.dataset.shade));
  button.querySelector(".dot").style.background = `rgb(${grey}, ${grey}, ${grey})`;
}
find("undo").addEventListener("click", () => restore(past, future));
find("redo").addEventListener("click", () => restore(future, past));
find("blank").addEventListener("click", () => {
  remember();
  whiten();
  publish(true);
});

sheet.width = facts.columns;
sheet.height = facts.rows;
sheet.setAttribute("aria-label", say(facts.alt));
whiten();
new ResizeObserver(drawAxes).observe(sheet);
watch("value", load);
load();
