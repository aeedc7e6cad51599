"use strict";
(() => {
  const root = document.documentElement;
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === false || value === undefined || value === null) continue;
      if (key === "class") node.className = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const data = (node) => JSON.parse(node.textContent);
  const signed = (x, digits = 2) => {
    const text = Math.abs(x).toFixed(digits);
    return Number(text) === 0 ? "0" : (x < 0 ? "−" : "+") + text;
  };
  const letter = (symbol, index) => el("span", {}, el("i", {}, symbol), el("sub", {}, String(index)));

  /* light and dark */
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const themeButton = document.getElementById("theme");
  const showTheme = () => {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-pressed", String(isDark()));
    themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("diffgeo-theme", root.dataset.theme); } catch { /* not kept from disk everywhere */ }
    showTheme();
    redrawCharts();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); redrawCharts(); });
  showTheme();

  /* charts: drawn when they come near, in the colours of the theme */
  const NBSP = "\u00a0";
  const theme = document.getElementById("chart-theme");
  const shades = theme ? data(theme).dark : {};
  const specOf = (id) => {
    const spec = JSON.parse(document.getElementById(`${id}-data`).textContent);
    let text = JSON.stringify({ ...spec, config: data(theme).config, background: null });
    if (isDark()) text = text.replace(/"(#[0-9a-fA-F]{6})"/g, (whole, colour) => `"${shades[colour] ?? colour}"`);
    const own = JSON.parse(text);
    own.config.font = getComputedStyle(root).getPropertyValue("--sans").trim();
    if (touch) for (const layer of own.layer) layer.params = (layer.params ?? []).filter((one) => one.name !== "zoom");
    return own;
  };
  const touch = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page, not the chart
  const drawn = new Map();
  const draw = async (node) => {
    if (!window.vegaEmbed) return;
    drawn.get(node)?.finalize();
    const place = el("div", { class: "drawing" });
    node.replaceChildren(place);
    const made = await vegaEmbed(place, specOf(node.dataset.chart), {
      ast: true, renderer: "svg", actions: false, tooltip: { theme: isDark() ? "dark" : "light" }, // the page forbids eval
    });
    drawn.set(node, made);
  };
  function redrawCharts() { for (const node of drawn.keys()) draw(node); }
  const plots = [...document.querySelectorAll(".plot")];
  if ("IntersectionObserver" in window) {
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
    }, { rootMargin: "900px 0px" });
    plots.forEach((node) => near.observe(node));
  } else plots.forEach(draw);
  addEventListener("beforeprint", () => plots.forEach((node) => drawn.has(node) || draw(node)));

  for (const tabs of document.querySelectorAll("[data-tabs]")) {
    tabs.addEventListener("change", (event) => {
      for (const panel of tabs.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== event.target.value;
      tabs.querySelectorAll("[data-panel]:not([hidden]) .plot").forEach(draw);
    });
  }

  /* tables: sorting and copying, in the order that is shown */
  let toastTimer;
  const toast = (text) => {
    const node = document.getElementById("toast");
    node.textContent = text;
    node.classList.add("shown");
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => node.classList.remove("shown"), 2600);
  };
  const copy = async (text, said) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      const worked = document.execCommand("copy");
      area.remove();
      if (!worked) { toast("The browser does not allow copying; use Save"); return; }
    }
    toast(said);
  };
  const heads = (table) => [...table.tHead.rows[0].cells];
  const toCSV = (table) => {
    // what a spreadsheet would take for a formula stays text
    const inert = (x) => (/^[=+\-@\t\r]/.test(x) && Number.isNaN(Number(x)) && !/^[-+]inf/.test(x) ? `'${x}` : x);
    const quoted = (x) => (/[",\n\r]/.test(x) ? `"${x.replaceAll('"', '""')}"` : x);
    const line = (cells) => cells.flatMap((cell) => JSON.parse(cell.dataset.csv)).map(inert).map(quoted).join(",");
    return [line(heads(table)), ...[...table.tBodies[0].rows].map((row) => line([...row.cells]))].join("\n") + "\n";
  };
  const MATH = {
    "−": "-", "±": "\\pm ", "×": "\\times ", "γ": "\\gamma ", "σ": "\\sigma ", "ρ": "\\rho ", "Δ": "\\Delta ", "∂": "\\partial ",
    "≤": "\\leq ", "≥": "\\geq ", "∞": "\\infty ", "π": "\\pi ", "ε": "\\varepsilon ", "→": "\\to ", "τ": "\\tau ",
    "ₙ": "_n", "ᵢ": "_i", "x̂": "\\hat x", "ū": "\\bar u",
  };
  const SMALL = { "⁻": "-", "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9" };
  const LOW = { "₀": "0", "₁": "1", "₂": "2", "₃": "3", "₄": "4", "₅": "5", "₆": "6", "₇": "7", "₈": "8", "₉": "9" };
  const toTeX = (text) => {
    const plain = text.normalize("NFC").replace(/[\\{}$&#%_^~]/g, (c) =>
      ({ "\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}" })[c] ?? `\\${c}`);
    const math = plain
      .replace(/[⁻⁰¹²³⁴-⁹]+/g, (run) => `$^{${[...run].map((c) => SMALL[c]).join("")}}$`)
      .replace(/[₀-₉]+/g, (run) => `$_{${[...run].map((c) => LOW[c]).join("")}}$`)
      .replace(/x̂|ū|[−±×γσρΔ∂≤≥∞πε→τₙᵢ]/g, (c) => `$${MATH[c].trim()}$`);
    return math.replaceAll("–", "--").replaceAll("·", "$\\cdot$").replaceAll("…", "\\dots{}").replaceAll("|", "$|$")
      .replaceAll(NBSP, "~").replaceAll("$$", "").replaceAll("<", "$<$").replaceAll(">", "$>$").trim();
  };
  const toLaTeX = (table) => {
    const columns = heads(table);
    const spec = columns.map((cell) => (cell.classList.contains("num") ? "r" : "l")).join("");
    const line = (cells) => `    ${cells.map((cell) => toTeX(cell.firstChild?.textContent ?? "")).join(" & ")} \\\\`;
    return [
      "% needs \\usepackage{booktabs}",
      "\\begin{table}", "  \\centering",
      `  \\caption{${toTeX(document.getElementById(table.getAttribute("aria-labelledby")).textContent)}}`,
      `  \\begin{tabular}{${spec}}`, "    \\toprule", line(columns), "    \\midrule",
      ...[...table.tBodies[0].rows].map((row) => line([...row.cells])),
      "    \\bottomrule", "  \\end{tabular}", "\\end{table}", "",
    ].join("\n");
  };
  const save = (text, name, type = "text/csv") => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const sortBy = (table, index) => {
    const head = heads(table)[index];
    const down = head.getAttribute("aria-sort") === "ascending";
    heads(table).forEach((cell) => cell.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [row, row.cells[index].dataset.sort]);
    const missing = (value) => value === "" || value === "nan" || value === "None";
    const numeric = rows.every(([, value]) => missing(value) || !Number.isNaN(Number(value)));
    rows.sort(([, a], [, b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b); // last, whichever way
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([row]) => row));
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copyText) copy(document.getElementById(button.dataset.copyText).textContent, "Copied the command");
    if (button.dataset.saveChart) {
      const id = button.dataset.saveChart, made = drawn.get(document.querySelector(`[data-chart="${id}"]`));
      made?.view.toSVG().then((svg) => save(svg, `${id.replace(/^chart-/, "")}.svg`, "image/svg+xml"));
    }
    const head = button.closest("table.data thead th");
    if (head) sortBy(head.closest("table"), head.cellIndex);
    if (!button.dataset.copy) return;
    const block = button.closest(".table-block"), table = block.querySelector("table");
    const rows = `${table.tBodies[0].rows.length} rows`;
    if (button.dataset.copy === "csv") copy(toCSV(table), `Copied ${rows} as CSV`);
    if (button.dataset.copy === "latex") copy(toLaTeX(table), `Copied ${rows} as LaTeX`);
    if (button.dataset.copy === "save") save(toCSV(table), `${block.dataset.name ?? block.id.replace(/^table-/, "")}.csv`);
  });

  /* whole tables are built when they are opened */
  const shown = (value) => {
    if (value === null) return "–";
    if (typeof value === "number") {
      const size = Math.abs(value);
      const text = Number.isInteger(value) ? String(value) : size >= 1e6 || (size < 1e-3 && size > 0) ? value.toExponential(2) : value.toPrecision(4);
      return text.replaceAll("-", "−");
    }
    return String(value);
  };
  for (const details of document.querySelectorAll("details.raw")) {
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const { columns, rows, note, name } = data(details.querySelector("script"));
      const id = details.dataset.table;
      const number = columns.map((_, i) => rows.some((row) => typeof row[i] === "number"));
      const cls = (i) => number[i] && "num";
      const csv = (value) => JSON.stringify([value === null ? "" : String(value)]);
      const head = columns.map((c, i) => el("th", { scope: "col", class: cls(i), "data-csv": csv(c) }, el("button", { type: "button" }, c)));
      const body = rows.map((row) => el("tr", {}, ...row.map((value, i) =>
        el("td", { class: cls(i), "data-sort": String(value ?? ""), "data-csv": csv(value) }, shown(value)))));
      const tool = (kind, text) => el("button", { type: "button", "data-copy": kind }, text);
      details.append(el("div", { class: "table-block", id: `table-${id}`, "data-name": name },
        el("div", { class: "table-head" }, el("h3", { id: `${id}-caption` }, note),
          el("div", { class: "tools", role: "group", "aria-label": `Copy: ${note}` },
            tool("csv", "Copy CSV"), tool("latex", "Copy LaTeX"), tool("save", "Save CSV"))),
        el("div", { class: "table-box", tabindex: "0", role: "region", "aria-labelledby": `${id}-caption` },
          el("table", { class: "data", "aria-labelledby": `${id}-caption` },
            el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)))));
    });
  }

  /* traversals: a strip of frames an edit, a slider a direction */
  const images = new Map();
  const load = (uri) => {
    if (!images.has(uri)) {
      images.set(uri, new Promise((resolve) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.src = uri;
      }));
    }
    return images.get(uri);
  };
  const paint = async (canvas, uri, frame, size) => {
    canvas.dataset.wanted = `${frame}`;
    canvas.dataset.strip = uri;
    const image = await load(uri);
    if (canvas.dataset.strip !== uri || canvas.dataset.wanted !== `${frame}`) return; // moved on meanwhile
    canvas.getContext("2d").drawImage(image, frame * size.width, 0, size.width, size.height, 0, 0, size.width, size.height);
    canvas.dataset.frame = `${frame}`;
  };
  const canvasOf = (size, attributes = {}) =>
    el("canvas", { width: size.width, height: size.height, class: size.pixelated ? "pixel" : "", ...attributes });

  const radios = (legend, name, options, chosen, onchange, face) => {
    const group = el("div", { class: options.length > 12 ? "segments scroll" : "segments" });
    options.forEach(({ value, label }, i) => {
      const input = el("input", { type: "radio", name, value, checked: i === chosen, onchange: () => onchange(value) });
      const inner = el("span", {}, ...(face ? [face(value)] : []), label);
      group.append(el("label", { class: face ? "face" : "" }, input, inner));
    });
    return el("fieldset", {}, el("legend", {}, legend), group);
  };

  /* a slider over the frames of one card; others follow where they are linked */
  const sliders = (viewer, linked) => (gammas, label, say, show) => {
    const last = gammas.length - 1;
    const input = el("input", { type: "range", min: 0, max: last, step: 1, value: last, "aria-label": label });
    const output = el("output", { "aria-hidden": "true" });
    const update = () => {
      const frame = Number(input.value);
      output.replaceChildren(el("i", {}, "γ"), ` = ${signed(gammas[frame], 1)}`);
      input.setAttribute("aria-valuetext", [`γ = ${signed(gammas[frame], 1)}`, say(frame)].filter(Boolean).join(", "));
      show(frame);
    };
    input.addEventListener("input", () => {
      update();
      if (linked()) {
        for (const other of viewer.querySelectorAll("input[type=range]")) {
          const value = String(Math.round((Number(input.value) / last) * Number(other.max)));
          if (other !== input && other.value !== value) { other.value = value; other.dispatchEvent(new Event("follow")); }
        }
      }
    });
    input.addEventListener("follow", update);
    return { input, update, node: el("div", { class: "slide" }, el("span", { "aria-hidden": "true" }, "−"), input, output) };
  };

  /* changes from the first frame, −γ, to the one shown: at the last, +γ, they are what the label names */
  const attributeBars = (names, values, gammas) => {
    const last = values.length - 1, since = `γ = ${signed(gammas[0], 1)}`;
    const change = (frame, k) => values[frame][k] - values[0][k];
    const reach = (k) => Math.max(...values.map((_, frame) => Math.abs(change(frame, k))));
    const order = names.map((_, k) => k).sort((a, b) => Math.abs(change(last, b)) - Math.abs(change(last, a))).slice(0, 6);
    const most = Math.max(1e-9, ...order.map(reach));
    const rows = order.map((k) => ({ k, fill: el("i"), value: el("span", { class: "value" }) }));
    const head = el("span", { class: "since" });
    const node = el("div", { class: "bars", "aria-hidden": "true" }, head);
    for (const row of rows) node.append(el("div", { class: "bar" }, el("span", {}, names[row.k]), el("span", { class: "track" }, row.fill), row.value));
    const show = (frame) => {
      head.textContent = `change from ${since} to ${signed(gammas[frame], 1)}`;
      for (const { k, fill, value } of rows) {
        const moved = change(frame, k), width = (Math.abs(moved) / most) * 50;
        fill.style.left = `${moved < 0 ? 50 - width : 50}%`;
        fill.style.width = `${width}%`;
        value.textContent = signed(moved);
      }
    };
    const say = (frame) => {
      const moved = [...order].sort((a, b) => Math.abs(change(frame, b)) - Math.abs(change(frame, a))).slice(0, 2);
      return frame ? `since ${since}: ${moved.map((k) => `${names[k]} ${signed(change(frame, k))}`).join(", ")}` : "the first picture";
    };
    return { node, show, say };
  };

  const traversals = (viewer) => {
    const all = data(viewer.querySelector(".viewer-data"));
    const cards = viewer.querySelector(".cards"), pickers = viewer.querySelector(".pickers");
    const state = { sample: all.samples[0].key, t: String(all.times[0].t), linked: false, at: {} };
    const make = sliders(viewer, () => state.linked);
    const render = () => {
      cards.replaceChildren(...(all.cards[`${state.sample}/${state.t}`] ?? []).map(card));
    };
    const card = (one) => {
      const sample = all.samples.find((s) => s.key === state.sample).name;
      const canvas = canvasOf(all, { role: "img" });
      const bars = all.attributes.length ? attributeBars(all.attributes, one.values, one.gammas) : null;
      const film = one.gammas.map((_, i) => canvasOf(all, { "aria-hidden": "true", onclick: () => { slider.input.value = i; slider.input.dispatchEvent(new Event("input")); slider.input.focus(); } }));
      film.forEach((thumb, i) => paint(thumb, one.strip, i, all));
      const label = `Direction ${one.direction} of ${sample}${one.label ? `, ${one.label}` : ""}`;
      const slider = make(one.gammas, label, (frame) => bars?.say(frame) ?? "", (frame) => {
        state.at[one.direction] = frame / (one.gammas.length - 1);
        paint(canvas, one.strip, frame, all);
        canvas.setAttribute("aria-label", `${sample} moved along direction ${one.direction}: ${slider?.input.getAttribute("aria-valuetext") ?? ""}`);
        bars?.show(frame);
        film.forEach((thumb, i) => thumb.classList.toggle("now", i === frame));
      });
      slider.input.value = String(Math.round((state.at[one.direction] ?? 1) * (one.gammas.length - 1)));
      slider.update();
      return el("article", { class: "card", "data-direction": one.direction, "aria-label": `Direction ${one.direction}` },
        el("div", { class: "card-head" }, el("h3", {}, letter("v", one.direction), one.label ? el("span", { class: "label", title: "what changes most from the first picture, −γ, to the last, +γ" }, ` ${one.label}`) : ""),
          el("span", { class: "sigma" }, letter("σ", one.direction), ` ${one.sigma.toPrecision(3)}`)),
        el("div", { class: bars ? "stage" : "stage alone" }, canvas, bars?.node),
        slider.node,
        el("div", { class: "film" }, ...film),
        one.itself ? el("div", { class: "itself" }, el("img", { src: one.itself, alt: "", class: "pixel" }), el("span", {}, "what is added to the latent: ", letter("v", one.direction), " as a picture, grey is 0")) : null);
    };
    const middleOf = (key) => {
      const canvas = canvasOf(all, { "aria-hidden": "true" });
      const first = (all.cards[`${key}/${all.times[0].t}`] ?? [])[0];
      if (first) paint(canvas, first.strip, Math.floor(first.gammas.length / 2), all);
      return canvas;
    };
    pickers.append(
      radios("Sample", `${viewer.id}-sample`, all.samples.map((s) => ({ value: s.key, label: s.name })), 0, (value) => { state.sample = value; render(); }, middleOf),
      radios("Edited at t =", `${viewer.id}-time`, all.times.map((t) => ({ value: String(t.t), label: t.label })), 0, (value) => { state.t = value; render(); }),
      el("label", { class: "check" }, el("input", { type: "checkbox", onchange: (event) => { state.linked = event.target.checked; } }), "Move all sliders together"));
    render();
  };

  const globalEdits = (viewer) => {
    const all = data(viewer.querySelector(".viewer-data"));
    const cards = viewer.querySelector(".cards"), pickers = viewer.querySelector(".pickers");
    const state = { t: String(all.times[0].t), linked: false, at: {} };
    const make = sliders(viewer, () => false);
    const render = () => { cards.replaceChildren(...(all.cards[state.t] ?? []).map(card)); };
    const card = (one) => {
      const faces = one.items.map((item) => {
        const canvas = canvasOf(all, { role: "img" });
        return { ...item, canvas, node: el("figure", {}, canvas, el("figcaption", {}, item.name, item.label ? `: ${item.label}` : "")) };
      });
      const slider = make(one.gammas, `Global direction ${one.direction}, on ${faces.length} held-out samples`, (frame) => (one.gammas[frame] === 0 ? "unedited" : ""), (frame) => {
        state.at[one.direction] = frame;
        for (const face of faces) {
          paint(face.canvas, face.strip, frame, all);
          face.canvas.setAttribute("aria-label", `${face.name} moved along global direction ${one.direction}, γ = ${signed(one.gammas[frame], 1)}${face.label ? `; from − to +: ${face.label}` : ""}`);
        }
      });
      slider.input.value = String(state.at[one.direction] ?? one.gammas.length - 1);
      slider.update();
      return el("article", { class: "card", "data-direction": one.direction, "aria-label": `Global direction ${one.direction}` },
        el("div", { class: "card-head" }, el("h3", {}, letter("ū", one.direction), ` on ${faces.length === 1 ? "one sample" : `${faces.length} samples`} unseen`)),
        el("div", { class: faces.length > 4 ? "faces many" : "faces" }, ...faces.map((face) => face.node)), slider.node);
    };
    pickers.append(radios("Edited at t =", `${viewer.id}-time`, all.times.map((t) => ({ value: String(t.t), label: t.label })), 0, (value) => { state.t = value; render(); }));
    render();
  };

  const viewers = { traversals, global: globalEdits };
  document.querySelectorAll("[data-viewer]").forEach((viewer) => viewers[viewer.dataset.viewer](viewer));
})();
