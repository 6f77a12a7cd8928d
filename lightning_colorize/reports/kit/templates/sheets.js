// The dialog with the sheets of `a.sheet` links.
const dialog = document.querySelector("dialog");
let sheet = "";
function showSheet(href, name) {
  sheet = href;
  dialog.querySelector(".caption").textContent = name;
  const image = dialog.querySelector("img");
  image.src = href;
  image.alt = `Sheet of ${name}`;
  if (!dialog.open) dialog.showModal();
  dialog.dispatchEvent(new Event("sheet"));
}
// All sheets in order, as [href, name]; a page may replace the function.
let sheets = () => {
  const links = [...document.querySelectorAll("a.sheet")];
  return [...new Map(links.map((link) => [link.getAttribute("href"), link.dataset.name]))];
};
function stepSheet(step) {
  const all = sheets();
  const current = all.findIndex(([href]) => href === sheet);
  if (all.length) showSheet(...all[current < 0 ? 0 : (current + step + all.length) % all.length]);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.sheet");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  showSheet(link.getAttribute("href"), link.dataset.name);
});
dialog.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) stepSheet(Number(step.dataset.step));
  else if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) stepSheet(step);
});
