"use strict";

for (const element of document.querySelectorAll(".chart")) {
  const { data, layout } = JSON.parse(element.nextElementSibling.textContent);
  Plotly.newPlot(element, data, layout, { responsive: true, displayModeBar: false });
}
// A hidden chart has no width to be drawn at.
document.addEventListener("change", (event) => {
  if (!event.target.closest(".switch")) return;
  document.querySelectorAll(".switch .chart").forEach((chart) => chart.offsetWidth && Plotly.Plots.resize(chart));
});

const hints = new ResizeObserver((entries) => {
  for (const { target } of entries) target.previousElementSibling.hidden = target.scrollWidth <= target.clientWidth;
});
document.querySelectorAll("div.scroll").forEach((box) => hints.observe(box));

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const body = table.tBodies[0];
  const original = [...body.rows];
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none"); // some browsers do not reflect the property
    button.addEventListener("click", () => {
      // First click: best first, or the largest without a goal; second: reversed; third: original.
      const orders = head.dataset.goal === "min" ? ["ascending", "descending"] : ["descending", "ascending"];
      const order = orders[orders.indexOf(head.getAttribute("aria-sort")) + 1] ?? "none";
      const sign = order === "ascending" ? 1 : -1;
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
      const value = (row) => row.cells[i + 1].dataset.value;
      // Cells without a number are last in both orders.
      const compare = (a, b) => (a && b ? sign * (a - b) : Boolean(b) - Boolean(a));
      body.append(...(order === "none" ? original : [...original].sort((a, b) => compare(value(a), value(b)))));
    });
  });
}
