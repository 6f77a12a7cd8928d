// The study: one pair at a time, answers kept in this browser, a file at the end.
"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const key = `study-${study.page}`;
const QUESTIONS = {
  real: {
    title: "Which is the real photograph?",
    text: "One of the two has the colours with which it was taken. The other was black and white, and a computer coloured it.",
  },
  better: {
    title: "Which looks better?",
    text: "A computer has coloured both. Choose the one whose colours you like better, or believe more.",
  },
};
const QUESTION_BEFORE_DELETING = "Have the answers been saved? They are deleted from this browser.";
const SOONEST = 250; // milliseconds; what comes earlier was meant for the pair before

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
  // Some browsers keep nothing for local files; the study then works until the page is left.
  try { localStorage.setItem(key, JSON.stringify(state)); } catch { /* nothing to be done */ }
}
function recall() {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}
function randomWords(count) {
  return [...crypto.getRandomValues(new Uint32Array(count))];
}

function begin() {
  if (done() && !confirm(QUESTION_BEFORE_DELETING)) return;
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
  screen("block");
}

async function ask() {
  const number = done();
  const trial = plan[number];
  part("trial-title").textContent = QUESTIONS[trial.question].title;
  part("count").textContent = `${number + 1} of ${plan.length}`;
  const bar = part("progress");
  bar.max = plan.length;
  bar.value = number;
  const images = ["left", "right"].map((side) => {
    const button = part(side);
    button.classList.remove("chosen");
    const image = button.querySelector("img");
    image.src = file(trial, side);
    return image;
  });
  part("pair").classList.add("waiting");
  screen("trial");
  await Promise.allSettled(images.map((image) => image.decode()));
  if (number !== done()) return;
  part("pair").classList.remove("waiting");
  shownAt = performance.now();
  const after = plan[number + 1];
  if (after) ["left", "right"].forEach((side) => { new Image().src = file(after, side); });
}

function answer(side) {
  if (shownAt === null || performance.now() - shownAt < SOONEST) return;
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
  part("recognised").textContent = real.length
    ? `You recognised the real photograph in ${right} of ${real.length} pairs.` : "";
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
  // Local files have no clipboard of their own; the old way works there.
  try { await navigator.clipboard.writeText(area.value); } catch { document.execCommand("copy"); }
  part("copied").textContent = "Copied.";
});
part("again").addEventListener("click", () => {
  if (!confirm(QUESTION_BEFORE_DELETING)) return;
  try { localStorage.removeItem(key); } catch { /* there were none */ }
  location.reload();
});
document.addEventListener("keydown", (event) => {
  const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (!side || event.repeat || part("pair").closest("[data-screen]").hidden) return;
  event.preventDefault();
  answer(side);
});

state = recall();
const total = study.plans[0].length;
part("length").textContent = `${total} pairs, about ${Math.max(1, Math.round(total * 5 / 60))} minutes`;
if (done()) {
  const through = Boolean(state.finished);
  part("resume").hidden = false;
  part("resume").textContent = through ? "Show my answers" : `Go on where you stopped (${done()} of ${total})`;
  part("begin").textContent = "Start anew";
  part("begin").classList.add("second");
}
screen("welcome");
