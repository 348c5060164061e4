// Runs once for each player, below chart.js. From gr.HTML: element, props, trigger and watch. From player.py: facts,
// which never change, and props.value, {sound, picture} and perhaps seconds, title, region, and other regions that are
// kept.
// Nothing goes into the page as HTML: texts are set as text, addresses as attributes.

const DRAG_PX = 6; // less is a click
const SHORTEST_S = 0.1;
const NARROWEST_HZ = 50;
const STEP_S = 1;
const BEAT_PX = 4; // closer beats are not drawn

const find = (name) => element.querySelector(`.${name}`);
const player = find("player");
const plot = find("plot");
const image = plot.querySelector("img");
const audio = element.querySelector("audio");
const buttons = ["play", "loop"].map(find);
const nameOf = (file) => file.orig_name || decodeURIComponent(file.url.split("/").pop());

// A phone's own sheet, which takes files.
const shares = facts.save && matchMedia("(pointer: coarse)").matches
  && navigator.canShare?.({ files: [new File(["sound"], "sound.wav", { type: "audio/wav" })] });

let address = null; // of the sound that is there: "" for none, null before that was looked at
let announced = ""; // the last sound that a screen reader was told of
let seconds = 0; // that it lasts
let region = null; // [start, end] in seconds, or [start, end, low, high] with a band in Hz
let drag = null;
let looping = false;

/** Where a pointer is: seconds, and height. */
function pointed(event) {
  const box = plot.getBoundingClientRect();
  return {
    time: clamp((event.clientX - box.left) / box.width, 0, 1) * seconds,
    high: clamp((box.bottom - event.clientY) / box.height, 0, 1),
  };
}

// What is shown -----------------------------------------------------------------------------------------------------

function drawAxes() {
  const box = plot.getBoundingClientRect();
  find("seconds").replaceChildren(...timeLabels(seconds, box.width));
  find("hertz").replaceChildren(...(seconds ? frequencyLabels(box.height) : []));

  const { bpm } = props.value || {};
  find("tempo").textContent = bpm ? `${bpm} bpm` : "";
  const beat = bpm && seconds ? 60 / bpm / seconds : 0; // as a part of the width
  find("seconds").classList.toggle("beats", beat * box.width >= BEAT_PX);
  find("seconds").style.setProperty("--beat", `${100 * beat}%`);
}

/** Lay a mark over a region. */
function lay(mark, [start, end, low, high]) {
  const [bottom, top] = low === undefined ? [0, 1] : [height(low), height(high)];
  mark.style.left = `${(100 * start) / seconds}%`;
  mark.style.width = `${(100 * (end - start)) / seconds}%`;
  mark.style.bottom = `${100 * bottom}%`;
  mark.style.height = `${100 * (top - bottom)}%`;
}

const written = ([start, end, low, high]) =>
  `${start.toFixed(2)}–${end.toFixed(2)} s${low === undefined ? "" : `, ${low}–${high} Hz`}`;

function drawRegion() {
  const mark = find("mark");
  for (const kept of plot.querySelectorAll(".kept")) kept.remove();
  mark.hidden = find("region").hidden = !region || !seconds;
  if (mark.hidden) return;
  lay(mark, region);
  const others = (props.value?.kept ?? []).filter((each) => String(each) !== String(region));
  for (const each of others) {
    const kept = document.createElement("div");
    kept.className = "kept";
    lay(kept, each);
    mark.after(kept);
  }
  find("span").textContent = [...others, region].map(written).join(" + ");
}

/** The playhead and the clock stand where the sound is. */
function follow() {
  const time = audio.currentTime;
  if (looping && region && !audio.paused && (time >= region[1] || time < region[0])) {
    audio.currentTime = region[0];
  }
  const shown = clamp(audio.currentTime, 0, seconds);
  find("head").style.transform = `translateX(${seconds ? (100 * shown) / seconds : 0}%)`;
  find("now").textContent = clock(shown);
  find("all").textContent = clock(seconds);
  // A screen reader is not told of every frame.
  const spoken = audio.paused ? round(shown, 1) : Math.floor(shown);
  plot.setAttribute("aria-valuenow", spoken);
  plot.setAttribute("aria-valuetext", say("{} of {} seconds", spoken, round(seconds, 1)));
}

function followEachFrame() {
  if (!element.isConnected) audio.pause(); // Gradio has taken the player off the page
  follow();
  if (!audio.paused) requestAnimationFrame(followEachFrame);
}

function showState() {
  const playing = !audio.paused;
  player.classList.toggle("playing", playing);
  find("play").setAttribute("aria-label", say(playing ? "Pause" : "Play"));
  find("play").title = say(playing ? "Pause (space)" : "Play (space)");
  if (playing) requestAnimationFrame(followEachFrame);
  else follow();
}

function offer(name, file) {
  const link = find(name);
  link.hidden = !file;
  if (!file) return link.removeAttribute("href");
  link.href = file.url;
  link.download = nameOf(file);
}

/** Show props.value: another sound, or only another region. */
function show() {
  const { sound, picture, seconds: known, title, region: marked } = props.value || {};
  region = marked || null;
  if (address !== (sound?.url ?? "")) {
    address = sound?.url ?? "";
    seconds = known || 0; // a sound that a browser recorded does not say
    find("trouble").textContent = "";
    find("title").textContent = find("title").title = title || say(facts.label);
    player.classList.toggle("empty", !address);
    for (const button of buttons) button.disabled = !address;
    plot.tabIndex = address ? 0 : -1;
    if (address) {
      audio.src = address;
      image.src = picture.url;
      image.alt = say(facts.alt);
    } else {
      audio.removeAttribute("src");
      audio.load();
      image.removeAttribute("src");
      image.removeAttribute("alt");
    }
    find("share").hidden = !address || !shares;
    offer("save-sound", facts.save && sound);
    offer("save-picture", picture);
    measured();
    showState();
  }
  setLooping(looping);
  drawRegion();
}

function measured() {
  if (!props.value?.seconds && Number.isFinite(audio.duration)) seconds = audio.duration;
  plot.setAttribute("aria-valuemax", round(seconds, 1));
  drawAxes();
  drawRegion();
  follow();
}

// What can be done --------------------------------------------------------------------------------------------------

async function play() {
  if (!address) return;
  if (!audio.paused) return audio.pause();
  try {
    await audio.play();
  } catch (error) {
    if (error.name !== "AbortError") find("trouble").textContent = say("This browser cannot play this kind of file.");
  }
}

async function share() {
  const { sound, title } = props.value;
  try {
    const blob = await (await fetch(sound.url)).blob();
    await navigator.share({ title, files: [new File([blob], nameOf(sound), { type: blob.type || "audio/wav" })] });
  } catch (error) {
    if (error.name !== "AbortError") find("trouble").textContent = say("This sound cannot be shared.");
  }
}

function seek(time) {
  audio.currentTime = clamp(time, 0, seconds);
  follow();
}

function setLooping(on) {
  looping = on;
  audio.loop = looping && !region; // the browser's own loop leaves no gap
  find("loop").setAttribute("aria-pressed", looping);
}

/** Mark a region and say so to the page. */
function choose(marked) {
  region = marked;
  setLooping(looping);
  drawRegion();
  props.value = { ...props.value, region };
  trigger("select");
}

/** The region between two points, at least as large as a region has to be. */
function between(from, to, band) {
  const last = Math.floor(seconds * 100) / 100; // rounding must not go past the end
  const start = round(clamp(Math.min(from.time, to.time), 0, Math.max(last - SHORTEST_S, 0)));
  const end = round(clamp(Math.max(from.time, to.time), start + SHORTEST_S, last));
  if (!band) return [start, end];
  const low = Math.min(frequency(Math.min(from.high, to.high)), facts.mel.highest - NARROWEST_HZ);
  const high = Math.max(frequency(Math.max(from.high, to.high)), low + NARROWEST_HZ);
  return low <= facts.mel.lowest && high >= facts.mel.highest ? [start, end] : [start, end, low, high];
}

const marksBands = () => find("mode-band").getAttribute("aria-pressed") === "true";

function setMode(band) {
  find("mode-band").setAttribute("aria-pressed", band);
  find("mode-time").setAttribute("aria-pressed", !band);
  plot.classList.toggle("bands", band); // a finger then draws a box, and does not scroll the page
}

plot.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary || !seconds) return;
  plot.setPointerCapture(event.pointerId);
  drag = { id: event.pointerId, x: event.clientX, y: event.clientY, from: pointed(event), before: region, moved: false };
});

plot.addEventListener("pointermove", (event) => {
  if (drag?.id !== event.pointerId) return; // a second finger
  const band = facts.bands && (marksBands() || event.shiftKey);
  drag.moved ||= Math.hypot(event.clientX - drag.x, band ? event.clientY - drag.y : 0) >= DRAG_PX;
  if (!drag.moved) return;
  region = between(drag.from, pointed(event), band);
  drawRegion();
});

plot.addEventListener("pointerup", (event) => {
  if (drag?.id !== event.pointerId) return;
  const { moved, from } = drag;
  drag = null;
  if (moved) choose(region);
  seek(moved ? region[0] : from.time);
});

plot.addEventListener("pointercancel", () => {
  if (drag) region = drag.before;
  drag = null;
  drawRegion();
});

player.addEventListener("keydown", (event) => {
  if (!address || event.altKey || event.ctrlKey || event.metaKey) return;
  const time = audio.currentTime;
  const step = event.shiftKey ? STEP_S / 10 : STEP_S;
  const keys = {
    ArrowLeft: () => seek(time - step),
    ArrowRight: () => seek(time + step),
    ArrowDown: () => seek(time - step),
    ArrowUp: () => seek(time + step),
    PageDown: () => seek(time - 10 * step),
    PageUp: () => seek(time + 10 * step),
    Home: () => seek(0),
    End: () => seek(seconds),
    l: () => setLooping(!looping),
    // Where a region begins and ends, for those who do not drag.
    "[": () => choose(between({ time, high: 0 }, { time: Math.max(region?.[1] ?? 0, time + STEP_S), high: 1 }, false)),
    "]": () => choose(between({ time: Math.min(region?.[0] ?? 0, time), high: 0 }, { time, high: 1 }, false)),
    Escape: () => drag || !region || facts.bands || choose(null),
  };
  if (!event.target.closest("button, a")) keys[" "] = play; // a button has its own use for it
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

find("play").addEventListener("click", play);
find("share").addEventListener("click", share);
find("loop").addEventListener("click", () => setLooping(!looping));
find("clear").addEventListener("click", () => choose(null));
find("mode-time").addEventListener("click", () => setMode(false));
find("mode-band").addEventListener("click", () => setMode(true));
find("paper").addEventListener("click", () => {
  find("paper").setAttribute("aria-pressed", player.classList.toggle("on-paper"));
});
find("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else player.requestFullscreen();
});

audio.addEventListener("loadedmetadata", () => {
  measured();
  if (!facts.save || address === announced) return;
  announced = address;
  const what = [say(facts.label), props.value.title].filter(Boolean).join(": ");
  window.riffusionRun.announce(`${what}, ${round(seconds, 1)} s`);
});
for (const name of ["play", "pause"]) audio.addEventListener(name, showState);
for (const name of ["timeupdate", "seeked"]) audio.addEventListener(name, follow);
audio.addEventListener("ended", () => {
  if (!looping || !region) return;
  seek(region[0]); // a region at the very end
  audio.play();
});
audio.addEventListener("error", () => {
  if (address) find("trouble").textContent = say("This browser cannot play this kind of file.");
});

// One player at a time. The listener goes when its player has gone.
const pauseForOthers = (event) => {
  if (!element.isConnected) document.removeEventListener("play", pauseForOthers, true);
  if (event.target !== audio) audio.pause();
};
document.addEventListener("play", pauseForOthers, true);

// The picture has axes of its own around the plot, which are for other uses than this page's.
const { left, top, right, bottom, width: plotWidth, height: plotHeight } = facts.picture;
image.style.width = `${(100 * (left + plotWidth + right)) / plotWidth}%`;
image.style.height = `${(100 * (top + plotHeight + bottom)) / plotHeight}%`;
image.style.left = `${(-100 * left) / plotWidth}%`;
image.style.top = `${(-100 * top) / plotHeight}%`;

plot.setAttribute("aria-label", say(facts.alt));
find("modes").hidden = !facts.bands;
find("clear").hidden = facts.bands; // there, fields say what is marked
find("full").hidden = !document.fullscreenEnabled;
player.classList.toggle("with-bands", facts.bands);
new ResizeObserver(drawAxes).observe(plot);
watch("value", show);
show();
