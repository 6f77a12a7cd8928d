"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
document.querySelectorAll(".chart").forEach((element, index) => {
  const { data, layout } = figures[index];
  Plotly.newPlot(element, data, layout, { responsive: true, displayModeBar: false });
});
