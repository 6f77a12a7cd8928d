// Controls of the gallery: search and order. A page of many images has none.
const gallery = document.getElementById("gallery");
const articles = [...(gallery?.children ?? [])];
const controls = document.querySelector(".controls");
if (controls) controls.hidden = false;
controls?.addEventListener("submit", (event) => event.preventDefault());
controls?.addEventListener("input", () => {
  const { find, category, order } = controls.elements;
  const word = find.value.trim().toLowerCase();
  let shown = 0;
  for (const article of articles) {
    const other = category?.value && article.dataset.category !== category.value;
    article.hidden = Boolean(other) || !article.dataset.name.includes(word);
    shown += !article.hidden;
  }
  controls.querySelector("output").textContent =
    shown === articles.length ? "" : `${shown} of ${articles.length}`;
  const key = {
    name: () => 0,
    apart: (article) => -article.dataset.apart,
  }[order.value] ?? ((article) => -(Number(article.dataset.values.split(" ")[order.value]) || 0));
  gallery.append(...[...articles].sort((a, b) => key(a) - key(b)));
});

function sheets() {
  const links = document.querySelectorAll(gallery ? "#gallery article:not([hidden]) h3 a" : "a.sheet");
  return [...new Map([...links].map((link) => [link.getAttribute("href"), link.dataset.name]))];
}
