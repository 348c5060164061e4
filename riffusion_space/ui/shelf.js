// What this visitor made, kept in this browser's own database. From gr.HTML: element, props, trigger, upload and watch.
// From shelf.py: facts, which never change. props.value is {added} from the page, a result to keep, and {go} to it, a
// tab to open. Nothing goes into the page as HTML: texts are set as text, addresses as attributes.

const MOST = 60; // results that are kept, beside the favourites
const MOST_BYTES = 300e6; // of them

const titleOf = (task) => say(facts.titles[task] ?? "");
const find = (name, within = element) => within.querySelector(`.${name}`);
const shelf = find("shelf");
const cards = new Map(); // id to {result, card, audio}
let picked = []; // ids to compare, at most two
let side = 0; // of these, the one that is heard
let deleted = null; // what Undo brings back

// Keeping -----------------------------------------------------------------------------------------------------------

const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("riffusion", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("results", { keyPath: "id" });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function database(mode, act) {
  const transaction = (await opened).transaction("results", mode);
  const request = act(transaction.objectStore("results"));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Do it; where the browser keeps nothing (a private window, a full disk), the results last as long as the page. */
async function keep(act) {
  try {
    return await database("readwrite", act);
  } catch (error) {
    tell(say("This browser keeps nothing: results stay until the page is closed."));
  }
}

const size = ({ sound, picture }) => sound.size + picture.size;
const newestFirst = () => [...cards.values()].map(({ result }) => result).sort((a, b) => b.made - a.made);

async function fetched(file) {
  const response = await fetch(file.url);
  if (!response.ok) throw new Error(response.statusText);
  return response.blob();
}

async function add({ task, sound, picture, settings }) {
  const blobs = await Promise.all([sound, picture].map(fetched));
  const result = {
    id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, made: Date.now(), favourite: false, task, settings,
    name: sound.orig_name || decodeURIComponent(sound.url.split("/").pop()), sound: blobs[0], picture: blobs[1],
  };
  show(result);
  await keep((store) => store.put(result));
  let bytes = 0, count = 0;
  for (const old of newestFirst().filter(({ favourite }) => !favourite)) {
    bytes += size(old);
    count += 1;
    if (count > 1 && (count > MOST || bytes > MOST_BYTES)) {
      remove(old.id, (store) => { // unless another tab keeps it for good
        store.get(old.id).onsuccess = ({ target }) => target.result?.favourite || store.delete(old.id);
      });
    }
  }
}

function remove(id, forget = (store) => store.delete(id)) {
  const { card, audio } = cards.get(id);
  audio.pause();
  cards.delete(id);
  card.remove();
  for (const address of [audio.src, find("plot", card).querySelector("img").src]) URL.revokeObjectURL(address);
  if (picked.includes(id)) pick(id);
  shelf.hidden = !cards.size && !deleted;
  keep(forget);
}

// Showing -----------------------------------------------------------------------------------------------------------

/** Say something. What was deleted can be had back all the while. */
function tell(text) {
  find("note").textContent = text || (deleted ? say("Deleted “{}”.", title(deleted)) : "");
  find("undo").hidden = !deleted;
}

/** What a result is called: its prompts, else its file. */
const title = ({ settings, name }) => titleOfSettings(settings) || name;

function ago(time) {
  const minutes = Math.round((Date.now() - time) / 60000);
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "narrow" });
  if (minutes < 60) return format.format(-minutes, "minute");
  if (minutes < 24 * 60) return format.format(-Math.round(minutes / 60), "hour");
  return format.format(-Math.round(minutes / 60 / 24), "day");
}

function label(button, text) {
  button.setAttribute("aria-label", text);
  button.title = text;
}

function show(result) {
  const card = element.querySelector("template").content.firstElementChild.cloneNode(true);
  const audio = new Audio(URL.createObjectURL(result.sound));
  audio.preload = "none";
  const image = card.querySelector("img");
  image.src = URL.createObjectURL(result.picture);
  const { left, top, right, bottom, width, height } = facts.picture;
  image.style.width = `${(100 * (left + width + right)) / width}%`;
  image.style.height = `${(100 * (top + height + bottom)) / height}%`;
  image.style.left = `${(-100 * left) / width}%`;
  image.style.top = `${(-100 * top) / height}%`;
  const named = title(result);
  find("name", card).textContent = find("name", card).title = named;
  const { task, seed } = result.settings || {};
  const tellFacts = () => {
    const parts = [titleOf(task ?? result.task), seed === undefined ? null : say("seed {}", seed), ago(result.made)];
    find("facts", card).textContent = parts.filter(Boolean).join(" · ");
  };
  tellFacts();

  const play = find("play", card), favourite = find("favourite", card), select = find("go", card);
  const showState = () => {
    card.classList.toggle("playing", !audio.paused);
    label(play, say(audio.paused ? "Play {}" : "Pause {}", named));
    const follow = () => {
      find("done", card).style.transform = `translateX(${(100 * audio.currentTime) / (audio.duration || 1)}%)`;
      if (!audio.paused) requestAnimationFrame(follow);
    };
    follow();
  };
  play.addEventListener("click", () => (audio.paused ? alone(audio) : audio.pause()));
  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, showState);
  showState();

  label(favourite, say("Keep {} for good", named));
  favourite.setAttribute("aria-pressed", result.favourite);
  favourite.addEventListener("click", () => {
    result.favourite = !result.favourite;
    favourite.setAttribute("aria-pressed", result.favourite);
    keep((store) => { // unless another tab has deleted it
      store.get(result.id).onsuccess = ({ target }) => target.result && store.put(result);
    });
  });

  const choose = find("pick", card);
  label(choose, say("Compare {} with another", named));
  choose.setAttribute("aria-pressed", "false");
  choose.addEventListener("click", () => pick(result.id));

  const save = find("save", card);
  label(save, say("Download {}", named));
  save.href = audio.src;
  save.download = result.name;

  const bin = find("delete", card);
  label(bin, say("Delete {}", named));
  bin.addEventListener("click", () => {
    deleted = result;
    remove(result.id);
    tell("");
    find("undo").focus();
  });

  select.setAttribute("aria-label", say("Go on with {}", named));
  const option = (text, value) => select.append(new Option(text, value));
  option(say("More…"), "");
  if (task in facts.titles) option(say("Use these settings"), "settings");
  for (const each of Object.keys(facts.titles)) option(say("Send to {}", titleOf(each)), each);
  onChoice(select, async () => {
    const where = select.value;
    select.value = "";
    if (where === "settings") return leave({ settings: result.settings });
    tell(say("Sending…"));
    const type = result.sound.type || "audio/wav";
    const { path, url } = await upload(new File([result.sound], result.name, { type })).catch(() => ({}));
    if (!path) return tell(say("No answer from the server; try again."));
    tell("");
    const meta = { _type: "gradio.FileData" };
    leave({ task: where, sound: { path, url, orig_name: result.name, mime_type: type, size: result.sound.size, meta } });
  });

  cards.set(result.id, { result, card, audio, tellFacts });
  const next = newestFirst()[newestFirst().indexOf(result) + 1];
  find("cards").insertBefore(card, next ? cards.get(next.id).card : null);
  shelf.hidden = false;
}

/** Open a tab and put something there. */
function leave(go) {
  props.value = { go };
  trigger("select");
  window.scrollTo({ top: 0, behavior: "smooth" });
}

// Hearing -----------------------------------------------------------------------------------------------------------

/** Play one sound and stop the others of the page, those of its players too. */
function alone(audio) {
  document.dispatchEvent(new Event("play")); // which stops players, Live, and what is heard here
  return audio.play();
}

function pick(id) {
  stopBoth();
  picked = picked.includes(id) ? picked.filter((each) => each !== id) : [...picked.slice(-1), id];
  side = 0;
  for (const [each, { card }] of cards) find("pick", card).setAttribute("aria-pressed", picked.includes(each));
  find("compare").hidden = picked.length < 2;
  tell(picked.length === 1 ? say("Choose another one to compare with.") : "");
  showCompare();
}

const both = () => picked.map((id) => cards.get(id).audio);

function showCompare() {
  if (picked.length < 2) return;
  picked.forEach((id, index) => {
    const button = element.querySelector(`.side[data-side="${index}"]`);
    const { result } = cards.get(id);
    button.textContent = `${"AB"[index]}: ${title(result)}`;
    button.setAttribute("aria-pressed", index === side);
  });
  const [a, b] = both();
  const playing = !a.paused || !b.paused;
  find("compare").classList.toggle("playing", playing);
  label(find("both"), say(playing ? "Pause A and B" : "Play A and B"));
  find("clock").textContent = `${both()[side].currentTime.toFixed(1)} s`;
  if (playing) requestAnimationFrame(showCompare);
}

function stopBoth() {
  for (const id of picked) {
    const { audio } = cards.get(id) ?? {};
    if (!audio) continue;
    audio.pause();
    audio.muted = false;
  }
}

/** Hear the one or the other, from where the music is. */
function listen(to) {
  const [from, other] = [both()[side], both()[to]];
  if (!from.paused && to !== side) other.currentTime = Math.min(from.currentTime, other.duration || Infinity);
  side = to;
  both().forEach((audio, index) => (audio.muted = index !== side));
  showCompare();
}

find("both").addEventListener("click", async () => {
  if (find("compare").classList.contains("playing")) {
    stopBoth();
  } else {
    await alone(both()[side]);
    const other = both()[1 - side];
    other.muted = true;
    other.currentTime = both()[side].currentTime;
    await other.play();
  }
  showCompare();
});
for (const button of element.querySelectorAll(".side")) {
  button.addEventListener("click", () => listen(Number(button.dataset.side)));
}
find("stop").addEventListener("click", () => [...picked].forEach(pick));
label(find("stop"), say("Stop comparing"));

find("undo").textContent = say("Undo");
find("undo").addEventListener("click", () => {
  if (!deleted) return;
  const result = deleted;
  deleted = null;
  show(result);
  keep((store) => store.put(result));
  tell("");
  find("play", cards.get(result.id).card).focus();
});

const growOlder = setInterval(() => { // as results do
  if (!element.isConnected) return clearInterval(growOlder);
  cards.forEach(({ tellFacts }) => tellFacts());
}, 60_000);

// A player that starts stops what is heard here.
document.addEventListener("play", () => cards.forEach(({ audio }) => audio.pause()), true);

find("shelf").querySelector("h2").textContent = say("Your results");
find("compare").setAttribute("aria-label", say("Comparison"));

watch("value", () => {
  const { added } = props.value || {};
  if (!added || added === watch.last) return;
  watch.last = added;
  add(added).catch(() => tell(say("No answer from the server: this result is not kept here.")));
});

database("readonly", (store) => store.getAll())
  .then((results) => results.sort((a, b) => a.made - b.made).forEach(show))
  .catch(() => tell(say("This browser keeps nothing: results stay until the page is closed.")));

// A file that was made here brings its settings back, wherever on the page it is dropped.
const ours = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files") && !event.target.closest("input, button, .upload-container");
document.addEventListener("dragover", (event) => ours(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  const file = event.dataTransfer?.files[0];
  if (!file || !ours(event)) return;
  event.preventDefault();
  const field = document.getElementById(facts.open).previousElementSibling; // what Gradio's button presses
  const transfer = new DataTransfer();
  transfer.items.add(file);
  field.files = transfer.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
