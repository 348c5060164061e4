// Plays chunks as they come, below chart.js. From gr.HTML: element, props, trigger and watch; from live.py: facts, and
// props.value, the answer to the last "pull".
//
// Time is counted in samples of the stream, whole numbers. What is to be heard lies in pieces that follow each other
// without a gap; whatever comes in place of something else is mixed with it over a crossfade before it is scheduled, so
// no two pieces ever sound at once. After the last chunk its last bars lie ready, which are heard when the next chunk
// is late. For a new prompt, the chunk that plays when it can be there is made again from the state before it; if too
// little is left of that, the one after it is made, and begins early.

const RATE = facts.rate;
const seconds = (time) => Math.round(time * RATE);
const FADE = seconds(0.1); // of a crossfade, and as much of a chunk's end is kept to lead into the next
const SOON = seconds(0.08); // sooner than that, nothing is scheduled
const LATE = seconds(0.15); // a chunk that is late by less keeps its place
const SHORTEST = seconds(0.6); // less of a chunk is not worth a crossfade into it
const SPARE_S = 1.3; // chunks are asked for that much before there would be no time for all steps
const MARGIN_S = 0.15;
const LEAST_STEPS = 4; // as in streaming.py
const OVERHEAD = 2; // what a chunk takes beside its steps, in steps
const RETRY_MS = 3000;
const TICK_MS = 100;
const NOW = 0.7; // where now is in the picture, as a part of its width
const PX_PER_S = 70;

const find = (name) => element.querySelector(`.${name}`);
const panel = find("live");
const [plot, strip, list] = [find("plot"), find("strip"), element.querySelector("ol")];

let context = null;
let volume = null; // a GainNode
let origin = null; // the context's frame that is the tape's first sample; null until something is heard
let base = 0; // where the stream begins that plays now: after what is on the tape already
let playing = false;

let pieces = []; // that are heard, or are to be: {from, to, samples, source, label, at, ...}, `at` where `label` begins
let chunks = []; // in them, oldest first: {start, end, samples, lead, before, state}, states before and after them
let bridge = null; // the last bars, ready to be heard: {loop, length, next, ...}, every `length` from `next` on
let shown = []; // elements in the strip: {to, node}
let tape = []; // what was heard since it was begun anew, over any number of starts: {from, to, data, label, at, made}
let taped = 0; // samples on it
let unsaved = false; // there is something on it that is in no file
let made = {}; // about the stream: seed, checkpoint, revision, bpm

let number = 0; // of the last request
let asked = null; // the request under way: {number, since, and what `place` takes}
let wait = 0; // no request before this time, in ms
let unit = 0; // seconds that a step takes, all in all
let loopTook = 0; // seconds that painting the loop of a new prompt took
let usual = 0; // steps, when there is time
let lastSteps = 0;
let others = 0; // requests of other kinds that were being worked on then
let trouble = "";

let frame = 0; // of the next drawing
let written = ""; // in the page's field
let prompt = ""; // what is asked for from now on
let promptStart = 0; // where it begins
let seed = null; // of the next start
let awake = null; // a promise of a lock that keeps the screen on
let heardLabel = "";

const last = () => chunks[chunks.length - 1];
const rendered = () => (origin === null ? base : context.currentTime * RATE - origin);
const latency = () => (context.outputLatency || context.baseLatency || 0) * RATE;
const audible = () => (origin === null ? base : rendered() - latency());
const estimate = (steps) => unit * (steps + OVERHEAD);

// Sound -------------------------------------------------------------------------------------------------------------

/** What is to be heard from a place on, as much as there is of it up to a length. */
function planned(from, length) {
  const sound = new Float32Array(length);
  let filled = 0;
  for (const piece of pieces) {
    if (piece.to <= from + filled || filled === length) continue;
    const end = Math.min(piece.to - from, length);
    sound.set(piece.samples.subarray(from + filled - piece.from, from + end - piece.from), filled);
    filled = end;
  }
  return sound.subarray(0, filled);
}

/** Nothing is to be heard from a place on. */
function cut(from) {
  for (const piece of pieces) {
    if (piece.to <= from) continue;
    piece.to = Math.max(from, piece.from);
    if (piece.from >= from) piece.source.disconnect();
    else piece.source.stop((origin + from) / RATE);
    hide(piece);
  }
  pieces = pieces.filter((piece) => piece.to > piece.from);
}

/** Hear samples from a place on, in place of what was to be heard there; `fade` out of that, unless it leads there. */
function put(from, samples, fade, picture, label, isBridge = false) {
  const mixed = samples.slice();
  if (fade) {
    const before = planned(from, Math.min(FADE, samples.length));
    for (let index = 0; index < before.length; index += 1) {
      const share = 0.5 - 0.5 * Math.cos((Math.PI * (index + 0.5)) / before.length);
      mixed[index] = before[index] * (1 - share) + samples[index] * share;
    }
  }
  cut(from);
  const buffer = context.createBuffer(1, mixed.length, RATE);
  buffer.copyToChannel(mixed, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(volume);
  source.start((origin + from) / RATE);
  const at = Math.max(from, picture.at); // what leads into a chunk is not yet of it
  const piece = { from, to: from + mixed.length, samples: mixed, source, label, at, isBridge, picture };
  pieces.push(piece);
  show(piece);
}

/**
 * Hear a chunk from `start` on, as much of it as is not too late, or all of it when there is time (`early`, or much too
 * late). `lead` is what comes right before it, and is there; without, it is faded into. Where it begins, and its lead.
 */
function place(samples, { start, lead, again, early }, url, label) {
  const soonest = Math.ceil(rendered()) + SOON;
  const { length } = samples;
  if (early || soonest > start + (again ? length - SHORTEST : LATE)) {
    const begins = onBeat(soonest, start);
    put(begins, samples, true, { url, at: begins, length }, label);
    return { start: begins, lead: null };
  }
  if (lead) {
    const offset = Math.max(soonest - (start - FADE), 0);
    const whole = new Float32Array(FADE + length);
    whole.set(lead);
    whole.set(samples, FADE);
    put(start - FADE + offset, whole.subarray(offset), offset > 0, { url, at: start, length }, label);
  } else {
    const begins = Math.max(start, soonest);
    put(begins, samples.subarray(begins - start), true, { url, at: start, length }, label);
  }
  return { start, lead };
}

/** The first place from `soonest` on that is whole beats after `start`, where there is a beat. */
function onBeat(soonest, start) {
  const beat = made.bpm ? (60 / made.bpm) * RATE : 1;
  return Math.round(start + Math.ceil((soonest - start) / beat) * beat);
}

/** The last bars of the last chunk lie ready after it. */
function secure() {
  const { samples, end, picture, label } = last();
  const longest = samples.length - 2 * FADE;
  const beat = made.bpm ? (60 / made.bpm) * RATE : longest;
  const length = Math.round(Math.max(Math.floor(longest / beat), 1) * Math.min(beat, longest));
  bridge = { loop: samples.subarray(samples.length - FADE - length), length, next: end - FADE, picture, label,
             whole: samples.length };
  goOnBridge();
}

function goOnBridge() {
  const { loop, next, picture, label, whole, length } = bridge;
  put(next, loop, true, { url: picture, at: next - (whole - loop.length), length: whole }, label, true);
  bridge.next = next + length;
}

/** What was heard goes on the tape; nothing can change it any more. */
function settle(now) {
  for (const piece of pieces) {
    if (piece.to > now) break;
    piece.source.disconnect();
    record(piece, piece.to);
  }
  pieces = pieces.filter((piece) => piece.to > now);
  chunks = chunks.filter((chunk, index) => chunk.end > now || index === chunks.length - 1);
  const most = facts.recordMinutes * 60 * RATE;
  while (tape.length > 1 && taped - (tape[0].to - tape[0].from) >= most) {
    const oldest = tape.shift();
    taped -= oldest.to - oldest.from;
  }
}

function record(piece, to) {
  tape.push(taken(piece, to));
  unsaved = true;
  taped += to - piece.from;
}

/** What a piece adds to the tape, up to a place. */
function taken({ from, samples, label, at }, to) {
  return { from, to, label, at, made, data: new Blob([toPcm(samples.subarray(0, to - from))]) };
}

/** What sounds ends here, and goes on the tape as far as it was heard. */
function finish() {
  const now = Math.floor(rendered());
  settle(now);
  for (const piece of pieces) {
    piece.source.disconnect();
    if (piece.from < now) record(piece, now);
  }
  pieces = [];
}

/** Where the tape ends. */
const tapeEnd = () => tape[tape.length - 1]?.to ?? 0;

function toPcm(samples) {
  return Int16Array.from(samples, (sample) => clamp(Math.round(sample * 32768), -32768, 32767));
}

function fromPcm(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
}

// Asking for more ---------------------------------------------------------------------------------------------------

function ask({ state, atMost, ...where }) {
  number += 1;
  asked = { number, state, ...where, since: performance.now() };
  trigger("pull", { number, prompt, state, seed: state ? null : made.seed ?? seed, atMost });
}

function giveUp() {
  if (!asked) return;
  trigger("cancel", { number: asked.number });
  asked = null;
}

/** Steps that there is time for until a place is heard, beside the loop of a prompt that is new. */
function stepsUntil(place, isNew) {
  if (!unit) return null;
  const left = (place - rendered()) / RATE - MARGIN_S - (isNew ? loopTook : 0);
  return Math.max(Math.floor(left / unit - OVERHEAD), 1);
}

/** Ask for the next chunk if there is little left to play. */
function askInTime() {
  if (asked || performance.now() < wait) return;
  const chunk = last();
  if (!chunk) return ask({ state: null, start: base, atMost: null });
  const left = (chunk.end - rendered()) / RATE;
  const hold = seconds(Number(find("hold").querySelector("input").value) || 20);
  const turns = queued().length && chunk.end - promptStart >= hold;
  if (unit && left > estimate(usual) + (turns ? loopTook : 0) + SPARE_S) return;
  if (turns) takeNext(chunk.end);
  ask({ ...after(chunk), atMost: stepsUntil(chunk.end, turns) });
}

/** What follows a chunk; where its state is lost, something else does. */
function after({ state, end, samples }) {
  return { state, start: end, lead: state && samples.subarray(-FADE) };
}

/** Ask for what is to be heard as soon as it can be. */
function askAtOnce() {
  const stopping = asked ? unit : 0; // the step that is under way is still taken
  giveUp();
  wait = 0;
  if (!chunks.length) return askInTime();
  const quick = seconds(stopping + loopTook + estimate(Math.min(LEAST_STEPS, usual)) + MARGIN_S);
  const soon = rendered() + quick;
  const chunk = chunks.find(({ end }) => end > soon);
  promptStart = Math.max(soon, chunk?.start ?? 0);
  if (!chunk) return ask({ ...after(last()), atMost: stepsUntil(last().end, true) });
  const { before: state, start, end, lead } = chunk;
  if (start > soon) return ask({ state, start, lead, again: true, atMost: stepsUntil(start, true) });
  if (end - soon >= quick) return ask({ state, start, lead, again: true, atMost: LEAST_STEPS });
  ask({ ...after(chunk), early: true, atMost: LEAST_STEPS });
}

function answered() {
  const answer = props.value;
  if (!answer || !asked || answer.number !== asked.number) return; // no longer waited for
  const request = asked;
  asked = null;
  if (answer.lost) return void (last().state = null);
  if (answer.error) return retry(answer.error);
  if (answer.cancelled || !playing) return;
  // The first may have waited for the checkpoint; of the others, waiting is a part.
  const waited = (performance.now() - request.since) / 1000 - answer.loop;
  const took = (request.state ? waited : answer.took) / (answer.steps + OVERHEAD);
  if (answer.loop) loopTook = answer.loop;
  unit = unit && request.state ? 0.6 * unit + 0.4 * took : took;
  [usual, lastSteps, trouble, others] = [answer.usual, answer.steps, "", answer.others];
  const samples = fromPcm(answer.sound);
  const label = Object.keys(answer.blend).join(" → ");
  chunks = chunks.filter((chunk) => chunk.start < request.start); // the others are made again
  let placed;
  if (!pieces.length) {
    base = tapeEnd();
    placed = { start: base, lead: null };
    origin = Math.ceil(context.currentTime * RATE) + SOON - base;
    for (let index = 0; index < FADE; index += 1) samples[index] *= index / FADE;
    put(base, samples, false, { url: answer.picture, at: base, length: samples.length }, label);
  } else {
    placed = place(samples, request, answer.picture, label);
    for (const chunk of chunks) chunk.end = Math.min(chunk.end, placed.start);
  }
  const { seed, checkpoint, revision, bpm } = answer;
  made = { seed, checkpoint, revision, bpm };
  chunks.push({ ...placed, end: placed.start + samples.length, samples, before: request.state, state: answer.state,
                picture: answer.picture, label });
  secure();
  tick();
}

function retry(message) {
  trouble = message;
  asked = null;
  wait = performance.now() + RETRY_MS;
}

// What is shown -----------------------------------------------------------------------------------------------------

const onStrip = (samples) => `calc(${samples / RATE} * var(--second))`;

/** The part of its chunk's picture that a piece is of, and its prompt where that changes. */
function show(piece) {
  const node = document.createElement("div");
  node.className = "piece";
  const image = document.createElement("img");
  image.alt = "";
  image.decoding = "sync"; // or it may come in after its sound
  image.src = piece.picture.url;
  image.style.left = onStrip(piece.picture.at - piece.from);
  image.style.width = onStrip(piece.picture.length);
  node.append(image);
  node.style.left = onStrip(piece.from);
  node.style.width = onStrip(piece.to - piece.from);
  strip.append(node);
  const leader = pieces[pieces.length - 2];
  // What leads into a chunk is the end of the one before, in whose picture it is.
  if (leader && piece.picture.at > piece.from) leader.shown.node.style.width = onStrip(piece.picture.at - leader.from);
  piece.shown = { to: piece.to, node };
  shown.push(piece.shown);
  const before = pieces[pieces.length - 2]?.label ?? tape[tape.length - 1]?.label;
  if (piece.label !== before) {
    const flag = document.createElement("span");
    flag.className = "flag";
    flag.textContent = piece.label;
    flag.style.left = onStrip(piece.at);
    strip.append(flag);
    piece.flag = { to: piece.to + 10 * RATE, node: flag };
    shown.push(piece.flag);
  }
}

/** A piece was shortened, or is not heard at all. */
function hide(piece) {
  piece.shown.to = piece.to;
  piece.shown.node.style.width = onStrip(piece.to - piece.from);
  if (piece.to === piece.from) {
    for (const each of [piece.shown, piece.flag]) each?.node.remove();
    shown = shown.filter((each) => each !== piece.shown && each !== piece.flag);
  }
}

/** The picture stands where the sound is. */
function draw() {
  if (!context) return;
  cancelAnimationFrame(frame);
  if (playing) frame = requestAnimationFrame(draw);
  if (!plot.clientWidth) return; // another tab is open
  const heard = audible();
  strip.style.transform = `translateX(${NOW * plot.clientWidth - (heard / RATE) * PX_PER_S}px)`;
  const gone = heard - (NOW * plot.clientWidth * RATE) / PX_PER_S;
  for (const each of shown) if (each.to < gone) each.node.remove();
  shown = shown.filter((each) => each.to >= gone);
  find("clock").textContent = clock(Math.max(heard, 0) / RATE, 0);
  const piece = pieces.find((each) => each.from <= heard && each.to > heard);
  if (piece && piece.label !== heardLabel) {
    heardLabel = piece.label;
    find("hearing").textContent = find("hearing").title = heardLabel;
    tellSystem();
  }
}

function drawAxes() {
  const box = plot.getBoundingClientRect();
  strip.style.setProperty("--second", `${PX_PER_S}px`);
  find("hertz").replaceChildren(...frequencyLabels(box.height));
  const ticks = [];
  const [back, ahead] = [NOW, 1 - NOW].map((part) => (part * box.width) / PX_PER_S);
  for (let time = -2 * Math.floor(back / 2); time <= ahead; time += 2) {
    const text = time ? `${time > 0 ? "+" : "−"}${Math.abs(time)} s` : say("now");
    ticks.push(label(text, "left", NOW + (time * PX_PER_S) / box.width));
  }
  find("seconds").replaceChildren(...ticks);
}

function tell() {
  const chunk = last();
  const left = chunk ? Math.max(chunk.end - rendered(), 0) / RATE : 0;
  const facts = `${say("{} s ahead", left.toFixed(1))} · ${say("{} steps", lastSteps)}`;
  find("facts").textContent = playing && chunk ? facts : "";
  let message = "";
  if (trouble) message = trouble;
  else if (playing && !chunk) message = say("The first sound is being made…");
  else if (playing && pieces.some((piece) => piece.isBridge && piece.from + FADE < rendered())) {
    message = say(others ? "Another request is being worked on: the last bars once more"
      : "Falling behind: the last bars once more");
  } else if (playing && lastSteps < usual) message = say("Fewer steps, to be there in time");
  else if (!playing && unsaved && taped) {
    message = say("{} recorded. Save it, or go on: Play adds to it.", clock(taped / RATE, 0));
  }
  if (find("message").textContent !== message) find("message").textContent = message;
  find("message").classList.toggle("trouble", Boolean(trouble));
  find("save").disabled = !taped && !pieces.length;
  find("anew").hidden = playing || !taped;
}

// What can be done --------------------------------------------------------------------------------------------------

function tick() {
  if (!element.isConnected) { // Gradio has taken the tab off the page
    clearInterval(ticking);
    document.removeEventListener("play", stop, true);
    return stop();
  }
  if (!context) return;
  const now = rendered();
  settle(now);
  if (playing) {
    while (bridge && bridge.next - now < bridge.length) goOnBridge();
    askInTime();
  }
  tell();
}

async function play() {
  if (playing) return stop();
  if (written.trim()) setPrompt(written, 0);
  if (!prompt && !queued().length) return explain();
  document.dispatchEvent(new Event("play")); // which stops players and cards
  if (!prompt) takeNext(0);
  if (context) finish(); // of what was heard before, nothing is lost
  [chunks, bridge, made, base, origin] = [[], null, {}, tapeEnd(), null];
  [playing, trouble, wait, promptStart, heardLabel] = [true, "", 0, base, ""];
  find("hearing").textContent = "";
  context?.close();
  context = new AudioContext({ sampleRate: RATE, latencyHint: "playback" });
  volume = new GainNode(context, { gain: Number(find("volume").querySelector("input").value) });
  volume.connect(context.destination);
  const started = context.resume();
  playSilence(); // in the same breath as the click, or a phone does not let it
  showState();
  panel.scrollIntoView({ behavior: "smooth", block: "nearest" }); // on a phone it stands below the examples
  await started;
  tick();
  draw();
}

function explain() {
  trouble = say("First write a prompt, or choose one.");
  tell();
  panel.scrollIntoView({ behavior: "smooth", block: "nearest" });
}

/** Forget what was heard. */
function beginAnew() {
  if (playing) return;
  for (const each of shown) each.node.remove();
  [pieces, shown, tape, taped, unsaved, base, origin] = [[], [], [], 0, false, 0, null];
  find("hearing").textContent = heardLabel = "";
  panel.classList.add("empty");
  find("play").focus();
  tell();
  draw();
}

/** Fade out; what was heard stays on the tape, which the next start goes on with. */
function stop() {
  if (!playing) return;
  giveUp();
  trigger("leave");
  const from = Math.ceil(rendered()) + SOON;
  const sound = planned(from, FADE);
  if (sound.length) {
    const { picture, label } = pieces.find((piece) => piece.to > from);
    put(from, sound.map((sample, index) => sample * (1 - (index + 1) / sound.length)), false, picture, label);
  }
  [playing, bridge, chunks] = [false, null, []];
  showState();
  const stopped = context;
  setTimeout(() => {
    tick();
    draw();
    if (stopped === context && !playing) stopped.suspend();
  }, 400);
}

function showState() {
  panel.classList.toggle("playing", playing);
  panel.classList.remove("empty");
  const name = say(playing ? "Stop" : "Play without an end");
  find("play").setAttribute("aria-label", name);
  find("play").title = name;
  if (!playing) silence.pause();
  stayAwake();
  tellSystem();
}

// The phone that it plays on ----------------------------------------------------------------------------------------

// Browsers show on a lock screen what an element plays, for more than five seconds; a context's sound they do not.
const silence = new Audio();
silence.loop = true;

function playSilence() {
  silence.src ||= URL.createObjectURL(wav([{ from: 0, to: 6 * RATE, data: new Uint8Array(12 * RATE) }], {}));
  silence.play().catch(() => {}); // it is no loss elsewhere
}

/** While it plays the screen stays on, which turned off would stop the sound of many phones. */
async function stayAwake() {
  if (!navigator.wakeLock) return;
  if (playing && !awake && document.visibilityState === "visible") {
    awake = navigator.wakeLock.request("screen").catch(() => null); // the battery may be low
    const held = await awake;
    if (!held) awake = null;
    held?.addEventListener("release", () => { // as the browser does when another tab is shown
      awake = null;
    });
  } else if (!playing && awake) {
    const held = await awake;
    awake = null;
    held?.release();
  }
}

/** What plays, for the lock screen and the keys of headphones. */
function tellSystem() {
  const { mediaSession } = navigator;
  if (!mediaSession) return;
  const title = heardLabel || prompt;
  mediaSession.metadata = new MediaMetadata({ title, artist: "Riffusion", album: say(facts.label) });
  mediaSession.playbackState = playing ? "playing" : "paused";
  mediaSession.setActionHandler("play", () => playing || play());
  for (const name of ["pause", "stop"]) mediaSession.setActionHandler(name, stop);
}

function setPrompt(text, start) {
  prompt = text.trim();
  promptStart = start;
}

/** A prompt that is to be heard as soon as can be. */
function now(text) {
  if (!text.trim()) return playing ? explain() : play();
  setPrompt(text, 0);
  if (playing) askAtOnce();
  else play();
}

const queued = () => [...list.children].filter((item) => item.querySelector("input").value.trim());

function takeNext(start) {
  const [item] = queued();
  setPrompt(item.querySelector("input").value, start);
  item.remove();
}

function later(text) {
  if (!text.trim()) return;
  const item = document.createElement("li");
  const field = document.createElement("input");
  field.value = text.trim();
  field.setAttribute("aria-label", say("A prompt to come"));
  item.append(field);
  const acts = [
    ["Play it now", "M6 3.5v13l10.5-6.5z", () => { item.remove(); now(field.value); }],
    ["Sooner", "M10 16V4M5 9l5-5 5 5", () => item.previousElementSibling?.before(item)],
    ["Remove", "M5.5 5.5l9 9M14.5 5.5l-9 9", () => item.remove()],
  ];
  for (const [name, path, act] of acts) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = say(name);
    button.setAttribute("aria-label", say(name));
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 20 20");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(svg.namespaceURI, "path"));
    svg.firstChild.setAttribute("d", path);
    button.append(svg);
    button.addEventListener("click", act);
    item.append(button);
  }
  list.append(item);
}

/** A WAV file of what was heard, with its prompts and their times as every file from here carries its settings. */
function save() {
  if (!context) return;
  settle(rendered());
  const parts = [...tape];
  const current = pieces.find((piece) => piece.from < rendered());
  if (current) {
    parts.push(taken(current, Math.floor(rendered())));
  }
  if (!parts.length) return;
  const prompts = [];
  let before;
  for (const part of parts) {
    const isOther = part.made.seed !== before; // it was stopped and started
    if (isOther || prompts[prompts.length - 1]?.prompt !== part.label) {
      const other = isOther && prompts.length ? { seed: part.made.seed } : {};
      prompts.push({ prompt: part.label, at_s: round((part.at - parts[0].from) / RATE, 5), ...other });
    }
    before = part.made.seed;
  }
  const { seed, checkpoint, revision } = parts[0].made;
  const settings = { task: "stream", prompt: prompts[0].prompt, prompts, seed, checkpoint, revision };
  const link = document.createElement("a");
  const comment = `riffusion_space: ${JSON.stringify(settings)}`;
  link.href = URL.createObjectURL(wav(parts, { title: prompts[0].prompt, comment }));
  link.download = `live-seed${seed}.wav`;
  link.click();
  unsaved = false;
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A WAV file with an ID3 chunk, as audio.py writes it. */
function wav(parts, tags) {
  const bytes = 2 * parts.reduce((sum, { from, to }) => sum + to - from, 0);
  const ascii = (text) => [...text].map((character) => character.charCodeAt(0));
  const number = (value, size) => Array.from({ length: size }, (_, index) => Math.floor(value / 256 ** index) % 256);
  const id3Size = (size) => [21, 14, 7, 0].map((shift) => (size >> shift) & 0x7f);
  const frames = Object.entries(tags).flatMap(([name, value]) => {
    const text = [3, ...ascii(name), 0, ...new TextEncoder().encode(value)]; // 3: UTF-8
    return [...ascii("TXXX"), ...id3Size(text.length), 0, 0, ...text];
  });
  const id3 = [...ascii("ID3"), 4, 0, 0, ...id3Size(frames.length), ...frames];
  const tagged = [...ascii("id3 "), ...number(id3.length, 4), ...id3, ...(id3.length % 2 ? [0] : [])];
  const header = [
    ...ascii("RIFF"), ...number(36 + bytes + tagged.length, 4), ...ascii("WAVEfmt "), ...number(16, 4), ...number(1, 2),
    ...number(1, 2), ...number(RATE, 4), ...number(2 * RATE, 4), ...number(2, 2), ...number(16, 2), ...ascii("data"),
    ...number(bytes, 4),
  ];
  const all = [new Uint8Array(header), ...parts.map((part) => part.data), new Uint8Array(tagged)];
  return new Blob(all, { type: "audio/wav" });
}

find("play").addEventListener("click", play);
find("save").addEventListener("click", save);
find("anew").addEventListener("click", beginAnew);
document.addEventListener("visibilitychange", stayAwake);
find("volume").addEventListener("input", (event) => {
  volume?.gain.setTargetAtTime(Number(event.target.value), context.currentTime, 0.02);
});

// One player at a time.
document.addEventListener("play", stop, true);

// What was heard is nowhere but here; Gradio loads the page anew when the server was out of reach.
addEventListener("beforeunload", (event) => {
  if (element.isConnected && (playing || unsaved)) event.preventDefault();
});

find("title").textContent = say(facts.label);
plot.setAttribute("aria-label", say("Spectrogram that runs with the sound"));
new ResizeObserver(drawAxes).observe(plot);
watch("value", answered);
const ticking = setInterval(tick, TICK_MS);
window.riffusionLive = {
  now,
  later,
  written: (text) => {
    written = text;
  },
  seed: (value) => {
    seed = value === "" ? null : value;
  },
  failed: () => asked && retry(say("No answer from the server; trying again.")),
};
for (const [name, value] of Object.entries(window.riffusionLiveFields ?? {})) window.riffusionLive[name](value);
