// What the player and the canvas have in common: frequencies as heights, and axes. Above it stands `mel`, the scale's
// lowest and highest frequency and its number of bands.

const LABEL_PX = { seconds: 52, hertz: 17 }; // from one label to the next

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value, places = 2) => Number(value.toFixed(places));
const toMel = (hz) => Math.log1p(hz / 700);
const [lowestMel, highestMel] = [toMel(facts.mel.lowest), toMel(facts.mel.highest)];

/** How high a frequency stands, 0 at the bottom and 1 at the top: each band is a row, centred at its frequency. */
function height(hz) {
  const band = ((toMel(hz) - lowestMel) / (highestMel - lowestMel)) * (facts.mel.bands + 1) - 0.5;
  return clamp(band / facts.mel.bands, 0, 1);
}

/** The frequency at a height; the edges are those of the scale. */
function frequency(high) {
  if (high <= 0) return facts.mel.lowest;
  if (high >= 1) return facts.mel.highest;
  const band = (high * facts.mel.bands + 0.5) / (facts.mel.bands + 1);
  const hz = 700 * Math.expm1(lowestMel + band * (highestMel - lowestMel));
  return Math.round(clamp(hz, facts.mel.lowest, facts.mel.highest));
}

function clock(time, places = 1) {
  const minutes = Math.floor(round(time, places) / 60);
  const rest = Math.max(time - 60 * minutes, 0).toFixed(places);
  return `${minutes}:${rest.padStart(places ? places + 3 : 2, "0")}`;
}

function label(text, side, fraction) {
  const tick = document.createElement("span");
  tick.textContent = text;
  tick.style[side] = `${100 * fraction}%`;
  return tick;
}

/** Labels below a plot of so many pixels that lasts so many seconds. */
function timeLabels(seconds, width) {
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
  const step = steps.find((each) => (each / seconds) * width >= LABEL_PX.seconds);
  const times = seconds && step ? Array.from({ length: Math.floor(seconds / step + 1e-6) + 1 }, (_, index) => index * step) : [];
  const written = (time) => (seconds > 60 ? clock(time, 0) : `${round(time)} s`);
  return times.map((time) => label(written(time), "left", time / seconds));
}

/** Labels beside a plot that is so many pixels high. */
function frequencyLabels(pixelsHigh) {
  const labels = [];
  let above = Infinity;
  for (const hz of [10000, 5000, 2000, 1000, 500, 200, 100]) {
    const pixels = height(hz) * pixelsHigh;
    if (hz > facts.mel.highest || hz < facts.mel.lowest || above - pixels < LABEL_PX.hertz) continue;
    labels.push(label(hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`, "bottom", height(hz)));
    above = pixels;
  }
  return labels;
}
