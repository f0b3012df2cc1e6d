"use strict";
// Text from the server and from files goes into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const player = $("player");
let about = { max_bytes: Infinity, max_sec: Infinity, models: [] };
let answer = null; // what is shown
let film = null; // of this one
let asked = null; // the AbortController of the film that is being looked at
let address = null; // under which the browser keeps its own copy of the film

const percent = (p) => `${(100 * p).toFixed(1)} %`;

function clock(sec) {
  const tenths = Math.round(sec * 10), minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1);
  return minutes ? `${minutes}:${rest.padStart(4, "0")}` : `${rest} s`;
}

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function drawn(tag, values) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}

function say(status, problem = "") {
  $("status").textContent = status;
  $("problem").textContent = problem;
}

async function start() {
  about = await (await fetch("about")).json();
  const minutes = Number((about.max_sec / 60).toFixed(1));
  $("limits").textContent = `Up to ${about.max_bytes / 1e6} MB and ${about.max_sec < 120 ? `${about.max_sec} seconds` : `${minutes} minutes`}.`;
  $("models").replaceChildren(...about.models.map((model) => {
    const item = made("li"), details = made("details");
    const known = `${model.name} knows ${model.classes.length} ${model.classes.length === 1 ? "class" : "classes"}`;
    details.append(made("summary", "", known), made("p", "quiet", model.classes.join(", ")));
    item.append(details);
    return item;
  }));
}

async function look(file) {
  show(null);
  const found = await ask(file, "films");
  if (!found) return;
  show(found, file);
  const first = task().whole[0];
  say(`Done: ${first.name}, ${percent(first.probability)}`);
}

async function explain() {
  const number = $("task").value, label = task().whole[0].label;
  const found = await ask(film, `films?task=${number}&label=${label}`);
  if (!found || number !== $("task").value) return;
  const when = found.most_sec === null ? "" : `, most of all at ${clock(found.most_sec)}`;
  $("sheet").src = found.picture;
  $("sheet").alt = `Frames that the model saw, and the same with what spoke for ${found.name} marked${when}`;
  $("sheet-text").textContent = `Above what the model saw, below what spoke for ${found.name}${when}. It says where, not why.`;
  $("marks").hidden = false;
  say(`Done: where the model looked for ${found.name}`);
}

// What the program says of a film, or null, and then the page says why.
async function ask(file, where) {
  if (asked) asked.abort();
  const mine = (asked = new AbortController());
  if (file.size > about.max_bytes) return over(mine, `${file.name}: it is larger than ${about.max_bytes / 1e6} MB, which is as much as the page takes.`);
  $("stop").hidden = $("progress").hidden = false;
  $("progress").removeAttribute("value");
  say(`${file.name} is being uploaded`);
  try {
    const said = await lastState(await fetch(where, {
      method: "POST", body: file, signal: mine.signal, headers: { "Content-Type": "application/octet-stream" },
    }), file.name);
    if (said.error) return over(mine, `${file.name}: ${said.error}`);
    over(mine, "");
    return said.answer;
  } catch (error) {
    return over(mine, mine.signal.aborted ? "" : `${file.name}: the program that answers this page has ended, or has broken off; look at its terminal.`);
  }
}

async function lastState(response, name) {
  if (!response.ok) return { error: await response.text() };
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", state = null;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    for (const line of lines) showState(state = JSON.parse(line), name);
  }
  if (!state || !(state.answer || state.error)) throw new Error("broken off");
  return state;
}

function showState(state, name) {
  if (state.answer || state.error) return;
  const others = state.ahead === 1 ? "1 film is" : `${state.ahead} films are`;
  const text = state.ahead ? `${name} waits: ${others} before it` : `${name} is being looked at`;
  if ($("status").textContent !== text) say(text); // said once, not every half second
  if (state.windows) $("progress").value = state.windows[0] / state.windows[1];
}

function over(mine, problem) {
  if (asked !== mine) return null; // another film was chosen meanwhile
  asked = null;
  if (document.activeElement === $("stop")) $("film").focus();
  $("stop").hidden = $("progress").hidden = true;
  if (problem || mine.signal.aborted) $("film").value = ""; // so that the same film can be chosen once more
  say("", problem);
  return null;
}

function show(found, file) {
  [answer, film] = [found, file];
  $("result").hidden = !found;
  player.pause();
  player.removeAttribute("src");
  if (address) URL.revokeObjectURL(address);
  address = null;
  player.load(); // nothing: lets go of the film before
  if (!found) return;
  $("name").textContent = file.name;
  $("unplayable").hidden = true;
  player.hidden = false;
  player.src = address = URL.createObjectURL(file);
  $("task").replaceChildren(...found.tasks.map((task, number) => new Option(task.name, number)));
  $("choice").hidden = found.tasks.length < 2;
  $("damage").hidden = !found.damaged_frames;
  $("damage").textContent = `${found.damaged_frames} of the frames that were read have damage.`;
  $("rate").hidden = !found.other_rate;
  $("rate").textContent = found.other_rate;
  $("moment").max = found.film_sec;
  $("moment").value = 0;
  showTask();
}

const task = () => answer.tasks[Number($("task").value)];

function bars(predictions) {
  return predictions.map(({ name, probability, is_there }) => {
    const item = made("li"), bar = made("span", "bar"), filled = made("span");
    filled.style.width = `${100 * probability}%`;
    bar.append(filled);
    const note = is_there === undefined || is_there === null ? "" : is_there ? " (there)" : " (not there)";
    item.append(made("span", "name", name + note), made("span", "value", percent(probability)), bar);
    return item;
  });
}

function showTask() {
  const { whole, timeline } = task();
  $("marks").hidden = true;
  $("explain").hidden = !about.explains;
  $("explain").textContent = `Where did it look for “${whole[0].name}”?`;
  $("whole").replaceChildren(...bars(whole));
  $("clips").textContent = answer.clips === 1 ? "Of one clip out of it." : `Of ${answer.clips} clips out of it.`;
  $("moment-box").hidden = $("timeline-box").hidden = !timeline;
  $("no-timeline").hidden = Boolean(timeline);
  if (!timeline) return;
  const last = answer.film_sec;
  $("rows").replaceChildren(...timeline.rows.map((row) => trackOf(row, timeline, last)));
  $("ticks").replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((part) => made("span", "", clock(part * last))));
  $("windows").textContent = `Filled: probability, from 0 to 1. Bars below: segments. The model looks at ${clock(answer.window_sec)} at a time, `
    + `${answer.every_sec > answer.window_sec ? "and only at one such window in each" : "anew every"} ${clock(answer.every_sec)}.`;
  $("segments").replaceChildren(...timeline.segments.map(buttonOf));
  if (!timeline.segments.length) $("segments").append(made("li", "", "None: no class is probable enough for long enough."));
  showMoment();
}

function trackOf(row, timeline, last) {
  const box = made("div", "row"), edges = timeline.edges_sec;
  const mine = timeline.segments.filter((segment) => segment.name === row.name);
  const picture = drawn("svg", { viewBox: `0 0 ${last} 1`, preserveAspectRatio: "none", role: "img" });
  picture.setAttribute("aria-label", `${row.name} over time, at most ${percent(Math.max(...row.probabilities))}`);
  const steps = row.probabilities.map((p, at) => `L${edges[at]} ${0.85 * (1 - p)}L${edges[at + 1]} ${0.85 * (1 - p)}`);
  picture.append(drawn("path", { class: "area", d: `M${edges[0]} 0.85${steps.join("")}L${edges.at(-1)} 0.85Z` }));
  for (const segment of mine) picture.append(drawn("rect", { class: "segment", x: segment.start_sec, y: 0.85, width: segment.end_sec - segment.start_sec, height: 0.15 }));
  box.append(made("p", "", row.name), picture);
  return box;
}

function buttonOf(segment) {
  const item = made("li"), button = made("button");
  button.type = "button";
  button.append(
    made("span", "when", `${clock(segment.start_sec)} to ${clock(segment.end_sec)}`),
    made("span", "name", segment.name), made("span", "value", percent(segment.confidence)),
  );
  button.addEventListener("click", () => seek(segment.start_sec));
  item.append(button);
  return item;
}

function seek(sec) {
  $("moment").value = sec;
  if (!player.hidden) player.currentTime = sec;
  showMoment();
}

function showMoment() {
  const { timeline } = task(), sec = Number($("moment").value), edges = timeline.edges_sec;
  let window = 0;
  while (window < timeline.best.length - 1 && sec >= edges[window + 1]) window++;
  const best = timeline.best[window];
  $("marker").style.left = `${(100 * sec) / answer.film_sec}%`;
  $("clock").textContent = clock(sec);
  $("moment").setAttribute("aria-valuetext", `${clock(sec)}: ${best[0].name}, ${percent(best[0].probability)}`);
  $("now").replaceChildren(...bars(best));
  const buttons = document.querySelectorAll("#segments button");
  timeline.segments.forEach((segment, at) => {
    const there = segment.start_sec <= sec && sec < segment.end_sec;
    there ? buttons[at].setAttribute("aria-current", "true") : buttons[at].removeAttribute("aria-current");
  });
}

function follow() {
  if (answer && !player.hidden && task().timeline) {
    $("moment").value = player.currentTime;
    showMoment();
  }
  if (!player.paused && !player.ended) requestAnimationFrame(follow);
}

for (const event of ["play", "seeked", "timeupdate", "ended"]) player.addEventListener(event, follow);
player.addEventListener("error", () => {
  if (!address) return;
  player.hidden = true;
  $("unplayable").hidden = false;
});
$("moment").addEventListener("input", () => seek(Number($("moment").value)));
$("explain").addEventListener("click", explain);
$("task").addEventListener("change", showTask);
$("stop").addEventListener("click", () => asked && asked.abort());
$("film").addEventListener("change", () => $("film").files.length && look($("film").files[0]));
for (const event of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(event, (happened) => {
    happened.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event === "drop" && happened.dataTransfer.files.length) look(happened.dataTransfer.files[0]);
  });
}
start().catch(() => say("", "The program that answers this page has ended; look at its terminal."));
