// Paints a mask on the picture that the page shows, by mouse, touch, pen or keys; its text goes to the hidden #dg-mask.
//
// Lengths are in pixels of the picture. Strokes are kept, and the mask is painted again from them when one is undone.
(() => {
  "use strict";
  if (window.diffgeoPaint) return;

  const SIDE = 704; // of the canvas inside, so that outlines are fine lines on small pictures, too
  const TINT = new Uint32Array(new Uint8Array([47, 127, 209, 120]).buffer)[0];
  let width = 0, height = 0, scale = 1;
  let picture = null; // an image, once it is loaded
  let base = null; // painted elsewhere: a link's mask
  let strokes = []; // { erase, radius, points } or { clear: true }
  let mask = new Uint8Array(0);
  let text = "";
  let seen = null; // the mask as it is drawn, until it changes
  let brush = null; // where it is shown: [x, y]
  let drawing = null; // id of the pointer that paints
  let wanted = false; // a picture to be drawn
  const find = (id) => document.getElementById(id);

  // the mask

  const radius = () => Math.max(0.5, (Number(find("dg-brush")?.value || 12) / 200) * width);

  function dab(stroke, from, to) {
    const r = stroke.radius, value = stroke.erase ? 0 : 1;
    seen = null;
    const [ax, ay] = from, dx = to[0] - ax, dy = to[1] - ay, length = dx * dx + dy * dy;
    const low = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - r));
    const high = (a, b, most) => Math.min(most - 1, Math.ceil(Math.max(a, b) + r));
    for (let y = low(ay, to[1]); y <= high(ay, to[1], height); y++) {
      for (let x = low(ax, to[0]); x <= high(ax, to[0], width); x++) {
        const px = x + 0.5 - ax, py = y + 0.5 - ay;
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= r * r) mask[y * width + x] = value;
      }
    }
    const x = Math.floor(to[0]), y = Math.floor(to[1]); // of a brush that is finer than a pixel
    if (x >= 0 && x < width && y >= 0 && y < height) mask[y * width + x] = value;
  }

  function again() {
    seen = null;
    mask = base ? base.slice() : new Uint8Array(width * height);
    for (const stroke of strokes) {
      if (stroke.clear) mask.fill(0);
      else stroke.points.forEach((point, i) => dab(stroke, stroke.points[Math.max(0, i - 1)], point));
    }
  }

  function begin(point, erase) {
    strokes.push({ erase, radius: radius(), points: [point] });
    dab(strokes.at(-1), point, point);
  }

  function extend(point) {
    const stroke = strokes.at(-1), last = stroke.points.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < Math.max(0.25, stroke.radius / 8)) return;
    dab(stroke, last, point);
    stroke.points.push(point);
  }

  // the text: width x height, then pixels outside and inside by turns

  function written() {
    const runs = [];
    let inside = 0, run = 0;
    for (const value of mask) {
      if (value !== inside) {
        runs.push(run);
        inside = value;
        run = 0;
      }
      run++;
    }
    return [`${width}x${height}`, ...runs, run].join(",");
  }

  function read(words) {
    const [size, ...runs] = words.split(",");
    if (size !== `${width}x${height}`) return null;
    const found = new Uint8Array(width * height);
    let at = 0;
    runs.forEach((run, i) => {
      found.fill(i % 2, at, at + Number(run));
      at += Number(run);
    });
    return found;
  }

  /** Take over a mask that the page was given, by a link say. */
  function given(words) {
    if (words === text) return;
    text = words;
    strokes = [];
    base = words && width ? read(words) : null;
    again();
    show();
  }

  /** Tell the page what is painted. */
  function tell() {
    show();
    text = written();
    const field = document.querySelector("#dg-mask textarea, #dg-mask input");
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // what is seen

  function show() {
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(() => {
      wanted = false;
      draw();
    });
  }

  function edges() {
    const path = new Path2D();
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const i = y * width + x;
        if (x && mask[i] !== mask[i - 1]) {
          path.moveTo(x * scale, y * scale);
          path.lineTo(x * scale, (y + 1) * scale);
        }
        if (y && mask[i] !== mask[i - width]) {
          path.moveTo(x * scale, y * scale);
          path.lineTo((x + 1) * scale, y * scale);
        }
      }
    }
    return path;
  }

  /** The mask's colour, its outline and its number of pixels. */
  function drawn() {
    const layer = new OffscreenCanvas(width, height), tint = new ImageData(width, height);
    const colours = new Uint32Array(tint.data.buffer);
    let count = 0;
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      colours[i] = TINT;
      count++;
    }
    layer.getContext("2d").putImageData(tint, 0, 0);
    return { layer, outline: edges(), count };
  }

  function twice(context, path) {
    for (const [colour, line] of [["#0b1220", 7], ["#fff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.stroke(path);
    }
  }

  function draw() {
    const canvas = find("dg-canvas");
    if (!canvas || !picture) return;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale;
      canvas.height = height * scale;
    }
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = width >= 128;
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    seen ??= drawn();
    context.imageSmoothingEnabled = false;
    context.drawImage(seen.layer, 0, 0, canvas.width, canvas.height);
    twice(context, seen.outline);
    if (brush) {
      const ring = new Path2D();
      ring.arc(brush[0] * scale, brush[1] * scale, radius() * scale, 0, 2 * Math.PI);
      twice(context, ring);
    }
    const { count } = seen, share = (100 * count) / (width * height);
    const shown = share < 1 ? share.toFixed(1) : share.toFixed(0);
    const words = count ? `Painted: ${shown} % of the picture.` : "Nothing is painted.";
    if (find("dg-painted").textContent !== words) find("dg-painted").textContent = words;
    find("dg-unstroke").disabled = !strokes.length;
    find("dg-clear").disabled = !count;
  }

  /** Paint on what the page shows as the picture before the edit. */
  function look() {
    const shown = document.querySelector(".dg-figures img");
    if (!shown || (picture && picture.src === shown.src && find("dg-canvas")?.width > 1)) return;
    const image = new Image();
    image.onload = () => {
      picture = image;
      if (image.naturalWidth !== width || image.naturalHeight !== height) {
        width = image.naturalWidth;
        height = image.naturalHeight;
        scale = Math.max(1, Math.round(SIDE / Math.max(width, height)));
        strokes = [];
        const field = document.querySelector("#dg-mask textarea, #dg-mask input");
        text = field?.value || "";
        base = text ? read(text) : null;
        again();
      }
      show();
    };
    image.src = shown.src;
  }

  // what hands do

  const onCanvas = (event) => (event.target?.id === "dg-canvas" && width ? event.target : null);

  function place(canvas, event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  const erasing = (event) => find("dg-erase").getAttribute("aria-pressed") === "true" || event.button === 5;

  document.addEventListener("pointerdown", (event) => {
    const canvas = onCanvas(event);
    if (!canvas || drawing !== null || !event.isPrimary || (event.button !== 0 && event.button !== 5)) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    drawing = event.pointerId;
    try {
      canvas.setPointerCapture(drawing);
    } catch {
      // a pointer that is gone already, or that a script made
    }
    brush = place(canvas, event);
    begin(brush, erasing(event));
    show();
  });
  document.addEventListener("pointermove", (event) => {
    const canvas = onCanvas(event);
    if (!canvas) return;
    if (event.pointerId === drawing) {
      const between = event.getCoalescedEvents?.() ?? [];
      for (const one of between.length ? between : [event]) extend(place(canvas, one));
    }
    if (drawing === null || event.pointerId === drawing) brush = place(canvas, event);
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, (event) => {
      if (event.pointerId !== drawing) return;
      drawing = null;
      if (event.pointerType !== "mouse") brush = null;
      tell();
    });
  }
  document.addEventListener("pointerout", (event) => {
    if (!onCanvas(event) || drawing !== null) return;
    brush = null;
    show();
  });

  function undo() {
    if (!strokes.pop()) return;
    again();
    tell();
  }

  document.addEventListener("click", (event) => {
    const id = event.target?.id;
    if (id === "dg-unstroke") undo();
    if (id === "dg-clear" && mask.includes(1)) {
      strokes.push({ clear: true });
      again();
      tell();
    }
    if (id === "dg-erase") {
      event.target.setAttribute("aria-pressed", String(event.target.getAttribute("aria-pressed") !== "true"));
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target?.id !== "dg-brush" || !width) return;
    brush = [width / 2, height / 2]; // so that its size is seen
    show();
  });

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener("keydown", (event) => {
    if (!onCanvas(event)) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = Math.max(1, radius() / 2), from = brush ?? [width / 2, height / 2];
      const move = (value, by, most) => Math.min(most - 0.5, Math.max(0.5, value + by * step));
      brush = [move(from[0], arrow[0], width), move(from[1], arrow[1], height)];
      if (event.shiftKey) {
        begin(from, erasing(event));
        extend(brush);
        tell();
      }
    } else if (event.key === " " || event.key === "Enter") {
      brush ??= [width / 2, height / 2];
      begin(brush, erasing(event));
      tell();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      undo();
    } else return;
    event.preventDefault();
    show();
  });
  document.addEventListener("focusin", (event) => {
    if (!onCanvas(event) || drawing !== null) return;
    brush ??= [width / 2, height / 2];
    show();
  });
  document.addEventListener("focusout", (event) => {
    if (!onCanvas(event)) return;
    brush = null;
    show();
  });

  window.diffgeoPaint = { given };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
  look();
})();
