// The study: one pair at a time; answers are stored in this browser and saved as a file at the end.
"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const key = `study-${study.page}`;
const QUESTIONS = {
  real: {
    title: "Which is the real photograph?",
    text: "One of the two has its original colors. The other was black and white and was colored by a computer.",
  },
  better: {
    title: "Which looks better?",
    text: "Both were colored by a computer. Choose the one whose colors you prefer or find more plausible.",
  },
};
const CONFIRM_DELETION = "Have you saved the answers? They will be deleted from this browser.";
const MIN_DELAY = 250; // milliseconds; an earlier press was meant for the previous pair

let state = null;
let plan = []; // of the state's plan, each trial as an object
let shownAt = null;

const screens = [...document.querySelectorAll("[data-screen]")];
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const screen = (name) => {
  screens.forEach((each) => { each.hidden = each.dataset.screen !== name; });
  part(`${name}-title`).focus({ preventScroll: true });
  window.scrollTo(0, 0);
};

function remember() {
  // Some browsers store nothing for local files; the study then lasts until the page is closed.
  try { localStorage.setItem(key, JSON.stringify(state)); } catch { /* not stored */ }
}
function recall() {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}
function randomWords(count) {
  return [...crypto.getRandomValues(new Uint32Array(count))];
}

function begin() {
  if (done() && !confirm(CONFIRM_DELETION)) return;
  const id = randomWords(2).map((word) => word.toString(16).padStart(8, "0")).join("");
  const number = randomWords(1)[0] % study.plans.length;
  state = { participant: id, plan: number, started: new Date().toISOString(), answers: [] };
  remember();
  resume();
}
function resume() {
  plan = study.plans[state.plan].map(([question, check, image, left, right]) => (
    { question, check, image, left, right }));
  next();
}

const done = () => state?.answers?.length ?? 0;
const file = (trial, side) => {
  const image = study.images[trial.image];
  const who = trial[side];
  return who >= 0 ? image.systems[who] : image[named(who)];
};
const named = (who) => study.systems[who] ?? { [-1]: "truth", [-2]: "broken" }[who];

function next() {
  shownAt = null;
  if (done() >= plan.length) return finish();
  const { question } = plan[done()];
  const isFirst = done() === 0 || plan[done() - 1].question !== question;
  if (!isFirst) return ask();
  const before = [...new Set(plan.slice(0, done()).map((trial) => trial.question))].length;
  part("block-count").textContent = study.questions.length > 1 ? `Part ${before + 1} of ${study.questions.length}` : "";
  part("block-title").textContent = QUESTIONS[question].title;
  part("block-text").textContent = QUESTIONS[question].text;
  part("early").textContent = "";
  screen("block");
}

async function load(image, path) { // until it can be seen
  for (let delay = 500; ; delay = Math.min(2 * delay, 8000)) {
    image.removeAttribute("src"); // some browsers do not load again what just failed
    image.src = path;
    try { return await image.decode(); } catch { /* no connection, or no file */ }
    part("notice").textContent = "An image does not load. Trying again … "
      + "If this lasts, tell the person who invited you.";
    await new Promise((resolve) => { setTimeout(resolve, delay); });
  }
}

async function ask() {
  const number = done();
  const trial = plan[number];
  part("trial-title").textContent = QUESTIONS[trial.question].title;
  part("count").textContent = `${number + 1} of ${plan.length}`;
  const bar = part("progress");
  bar.max = plan.length;
  bar.value = number;
  part("pair").classList.add("waiting");
  screen("trial");
  await Promise.all(["left", "right"].map((side) => {
    part(side).classList.remove("chosen");
    return load(part(side).querySelector("img"), file(trial, side));
  }));
  if (number !== done()) return;
  part("notice").textContent = "";
  part("pair").classList.remove("waiting");
  shownAt = performance.now();
  const after = plan[number + 1];
  if (after) ["left", "right"].forEach((side) => { new Image().src = file(after, side); });
}

function answer(side) {
  if (shownAt === null || performance.now() - shownAt < MIN_DELAY) {
    part("early").textContent = "Too fast to count: please look at both images, then choose again.";
    return;
  }
  part("early").textContent = "";
  const milliseconds = Math.round(performance.now() - shownAt);
  shownAt = null;
  const { question, check, image, left, right } = plan[done()];
  const { name, category } = study.images[image];
  const given = { question, check, image: name, category, left: named(left), right: named(right), answer: side, milliseconds };
  if (check) given.passed = given[side] !== "broken";
  state.answers.push(given);
  if (done() === plan.length) state.finished = new Date().toISOString();
  remember();
  part(side).classList.add("chosen");
  setTimeout(next, 160);
}

function finish() {
  const checks = state.answers.filter(({ check }) => check);
  const result = {
    format: study.format,
    version: study.version,
    page: study.page,
    participant: state.participant,
    plan: state.plan,
    started: state.started,
    finished: state.finished,
    systems: study.systems,
    checks: { passed: checks.filter(({ passed }) => passed).length, of: checks.length },
    trials: state.answers,
  };
  const text = `${JSON.stringify(result, null, 1)}\n`;
  const name = `study-${study.page.slice(0, 6)}-${state.participant.slice(0, 8)}.json`;
  const real = state.answers.filter(({ question, check }) => question === "real" && !check);
  const right = real.filter((trial) => trial[trial.answer] === "truth").length;
  part("recognized").textContent = real.length
    ? `You recognized the real photograph in ${right} of ${real.length} pairs.` : "";
  part("text").value = text;
  const save = part("save");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  save.download = name;
  part("file").textContent = name;
  screen("end");
}

part("begin").addEventListener("click", begin);
part("resume").addEventListener("click", resume);
part("go").addEventListener("click", ask);
part("left").addEventListener("click", () => answer("left"));
part("right").addEventListener("click", () => answer("right"));
part("copy").addEventListener("click", async () => {
  const area = part("text");
  area.select();
  // Local files have no clipboard API; the older command works there.
  try { await navigator.clipboard.writeText(area.value); } catch { document.execCommand("copy"); }
  part("copied").textContent = "Copied.";
});
part("again").addEventListener("click", () => {
  if (!confirm(CONFIRM_DELETION)) return;
  try { localStorage.removeItem(key); } catch { /* nothing was stored */ }
  location.reload();
});
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
  // A heading has the focus, so that it is read aloud; without this, buttons would need Tab.
  if (["Enter", " "].includes(event.key) && !event.target.closest("a, button, summary, textarea")) {
    event.preventDefault();
    document.querySelector("[data-screen]:not([hidden]) .actions > :not([hidden])")?.click();
  }
  const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (!side || part("pair").closest("[data-screen]").hidden) return;
  event.preventDefault();
  answer(side);
});

state = recall();
const total = study.plans[0].length;
part("length").textContent = `${total} pairs, about ${Math.max(1, Math.round(total * 5 / 60))} minutes`;
if (done()) {
  const isFinished = Boolean(state.finished);
  part("resume").hidden = false;
  part("resume").textContent = isFinished ? "Show my answers" : `Resume (${done()} of ${total})`;
  part("begin").textContent = "Start again";
  part("begin").classList.add("second");
}
screen("welcome");
