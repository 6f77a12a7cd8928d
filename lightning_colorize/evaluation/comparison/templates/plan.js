// Who is asked what: a participant's trials follow from the study and a seed alone.
"use strict";

/** Return a function that gives numbers in [0, 1) (mulberry32). */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(items, random) {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

/** Return the trials in their order: {question, check, picture, left, right}.
 *
 * picture is a number; left and right are numbers of systems, "truth" or "broken". Every system is
 * asked about equally often and stands on each side equally often; categories take turns; nobody
 * sees a picture twice before all of its category were used. The question that comes first, the
 * order within a question and the sides are random. */
function makePlan(study, seed) {
  const random = randomFrom(seed);
  const systems = study.systems.map((_, i) => i);

  const sidesLeft = [];
  const side = () => {
    // Pairs of one left and one right, so that they never drift apart.
    if (!sidesLeft.length) sidesLeft.push(...shuffled([0, 1], random));
    return sidesLeft.pop();
  };

  const byCategory = new Map();
  study.pictures.forEach(({ category }, i) => {
    byCategory.set(category, [...(byCategory.get(category) ?? []), i]);
  });
  const categories = shuffled([...byCategory.keys()], random);
  const waiting = new Map();
  let turn = 0;
  const nextPicture = () => {
    const category = categories[turn++ % categories.length];
    if (!waiting.get(category)?.length) {
      waiting.set(category, shuffled(byCategory.get(category), random));
    }
    return waiting.get(category).pop();
  };

  const trial = (question, one, other, check) => {
    const pair = side() ? [one, other] : [other, one];
    return { question, check, picture: nextPicture(), left: pair[0], right: pair[1] };
  };

  const againstTruth = () => {
    const times = Math.max(1, Math.floor(study.trials / systems.length));
    return systems.flatMap((system) =>
      Array.from({ length: times }, () => trial("real", system, "truth", false)));
  };

  // A round pairs each system with the one so many places further on in a ring: everybody is once
  // left and once right. Over all distances everybody meets everybody on both sides.
  const againstEachOther = () => {
    const rounds = Math.max(1, Math.floor(study.trials / systems.length));
    const ring = shuffled(systems, random);
    const distances = shuffled(systems.slice(1), random);
    return Array.from({ length: rounds }, (_, round) => {
      const distance = distances[round % distances.length];
      const pairs = ring.map((left, i) => [left, ring[(i + distance) % ring.length]]);
      return shuffled(pairs, random).map(([left, right]) => (
        { question: "better", check: false, picture: nextPicture(), left, right }));
    }).flat();
  };

  const block = (question) => {
    const trials = shuffled(question === "real" ? againstTruth() : againstEachOther(), random);
    const part = Math.floor(trials.length / study.checks);
    const good = shuffled(systems, random);
    for (let n = study.checks - 1; n >= 0; n--) {
      const one = question === "real" ? "truth" : good[n % good.length];
      const place = n * part + Math.floor(random() * (part + 1));
      trials.splice(place, 0, trial(question, one, "broken", true));
    }
    return trials;
  };
  return shuffled(study.questions, random).flatMap(block);
}
