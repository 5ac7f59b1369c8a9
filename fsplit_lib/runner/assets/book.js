// Folds the sections that the main path can do without, and draws every figure of a page. A panel's figure comes with what it shows in each state of its controls.
const element = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const touch = matchMedia("(hover: none)").matches; // there the bar of tools would always cover the end of a long title
const config = { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover" };

function draw(box, { data, layout }) {
  const clear = "rgba(0,0,0,0)"; // the page shines through, light or dark
  layout = { paper_bgcolor: clear, plot_bgcolor: clear, modebar: { bgcolor: clear, color: "#8b949e", activecolor: "#0072B2" }, ...layout };
  if (!box.closest(".picture")) return Plotly.react(box, data, layout, config);
  return Plotly.newPlot(box, data, { ...layout, width: 800, height: 450, showlegend: false }, { staticPlot: true });
}

function control({ label, places, first }, moved) {
  const few = places.length <= 1 || !places.every((place) => isFinite(place.replaceAll(",", "")));
  if (few) {
    const menu = element("select", { onchange: () => moved(menu.selectedIndex) }, ...places.map((p) => new Option(p)));
    menu.selectedIndex = first;
    return element("label", {}, label, menu);
  }
  const shown = element("output", {}, places[first]);
  const bar = element("input", { type: "range", min: 0, max: places.length - 1, value: first });
  bar.setAttribute("aria-valuetext", places[first]);
  bar.oninput = () => {
    shown.textContent = places[bar.value];
    bar.setAttribute("aria-valuetext", places[bar.value]);
    moved(Number(bar.value));
  };
  return element("label", {}, label, bar, shown);
}

for (const section of document.querySelectorAll("article section")) {
  const heading = section.querySelector(":scope > :is(h2, h3)");
  if (!heading?.textContent.startsWith("More: ")) continue;
  const fold = element("details", { className: "more" }, element("summary", {}, heading), ...section.childNodes);
  fold.ontoggle = () => fold.querySelectorAll(".drawing").forEach((box) => Plotly.Plots.resize(box)); // closed, it has no width
  section.append(fold);
}

for (const figure of document.querySelectorAll("figure.plot")) {
  const { panel, ...first } = JSON.parse(figure.querySelector("script").textContent);
  const said = figure.querySelector(".said");
  const box = element("div", { className: "drawing", role: "img", ariaLabel: said?.textContent ?? figure.ariaLabel });
  figure.prepend(box);
  draw(box, structuredClone(first));
  if (!panel) continue;
  figure.classList.add("panel");
  said.setAttribute("role", "status");
  const at = panel.controls.map((one) => one.first);
  const show = () => {
    const state = panel.states[at.reduce((sum, place, i) => sum * panel.controls[i].places.length + place, 0)];
    const now = structuredClone(first);
    for (const [part, key, value] of state.changes) {
      const target = part < 0 ? now.layout : now.data[part];
      if (value === null) delete target[key];
      else target[key] = structuredClone(panel.values[value]);
    }
    said.textContent = box.ariaLabel = state.said;
    draw(box, now);
  };
  const controls = panel.controls.map((one, i) => control(one, (place) => { at[i] = place; show(); }));
  box.before(element("div", { className: "controls" }, ...controls, element("small", {}, panel.note)));
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => {
  const { theme } = document.body.dataset;
  document.body.classList.toggle("negative", theme === "dark" || (theme !== "light" && dark.matches));
};
shade();
dark.addEventListener("change", shade);
new MutationObserver(shade).observe(document.body, { attributeFilter: ["data-theme"] });
