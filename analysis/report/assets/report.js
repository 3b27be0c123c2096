"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  root.classList.add("js");

  // Figures: drawn when their tab is first shown, again when the theme changes.
  const drawn = new Set();
  const axis = (given) => {
    const { title, ...rest } = given || {};
    return { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true, exponentformat: "none",
      ...rest, ...(title ? { title: { text: title, standoff: 8 } } : {}) };
  };
  const layout = (given) => ({
    ...given,
    xaxis: axis(given.xaxis), yaxis: axis(given.yaxis),
    height: given.height || 330,
    margin: { l: 56, r: 34, t: 14, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--text") },
    legend: { orientation: "h", traceorder: "normal", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { bgcolor: css("--bg"), bordercolor: css("--line"), font: { color: css("--text") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--line"), activecolor: css("--muted"), orientation: "v" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  });
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" } };
  const needPlotly = () => {  // megabytes of script: run when the first figure is drawn, after the page is there
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = $("plotly").textContent;
    document.head.append(script);
  };
  const draw = (chart) => {
    needPlotly();
    const plot = data.plots[chart.dataset.plot];
    drawn.add(chart);
    return Plotly.react(chart, plot.data, layout(plot.layout), options);
  };
  const drawAll = (charts) => charts.forEach((chart) => { if (!drawn.has(chart)) draw(chart); });
  const themed = () => { drawn.forEach(draw); player.draw(); };

  // Tabs
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panels = tabs.map((tab) => $(tab.getAttribute("aria-controls")));
  const show = (index, focus, soon = (work) => work()) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      panels[i].classList.toggle("shown", i === index);
    });
    if (focus) tabs[index].focus();
    tabs[index].scrollIntoView({ block: "nearest", inline: "nearest" });
    soon(() => drawAll([...panels[index].querySelectorAll(".chart")]));
    if (panels[index].contains($("map"))) player.resize(); else player.pause();
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => { history.replaceState(null, "", "#" + tab.dataset.name); show(i); });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show((i + step + tabs.length) % tabs.length, true);
    });
  });

  // Playback. Time in which nothing happens is skipped; the rest is slowed down until the eye can follow.
  const FEATURES = 0, OUTPUT = 1, EXPERT = 3;
  const SECONDS_A_REQUEST = 2, LONGEST_GAP_S = 0.35, GLOW_S = 0.7;
  const player = (() => {
    const canvas = $("map"), context = canvas.getContext("2d"), slider = $("position"), speed = $("speed");
    let run, knots, slow, spans, length, at = 0, playing = false, before = 0;

    const interpolate = (from, to, value) => {
      let low = 0, high = knots.length - 1;
      if (value <= knots[0][from]) return knots[0][to];
      if (value >= knots[high][from]) return knots[high][to];
      while (high - low > 1) { const middle = (low + high) >> 1; if (knots[middle][from] <= value) low = middle; else high = middle; }
      const a = knots[low], b = knots[high];
      return b[from] === a[from] ? b[to] : a[to] + (b[to] - a[to]) * (value - a[from]) / (b[from] - a[from]);
    };
    const toPlay = (us) => interpolate(0, 1, us);
    const toSimulated = (s) => interpolate(1, 0, s);

    const choose = (index) => {
      run = data.runs[index];
      const ends = run.requests.map((r) => [r.begin, r.end ?? Math.max(r.begin, ...r.spans.map((s) => s[4]))]);
      const lengths = ends.map(([a, b]) => b - a).filter((d) => d > 0).sort((a, b) => a - b);
      slow = SECONDS_A_REQUEST / (lengths[lengths.length >> 1] || 1);
      knots = [];
      let played = 0, until = null;
      for (const [a, b] of ends) {
        if (until === null) { knots.push([a, 0]); until = a; }
        if (a > until) { played += Math.min((a - until) * slow, LONGEST_GAP_S); knots.push([a, played]); until = a; }
        if (b > until) { played += (b - until) * slow; knots.push([b, played]); until = b; }
      }
      if (!knots.length) knots.push([0, 0]);
      length = played + GLOW_S;
      knots.push([until + GLOW_S / slow || 1, length]);
      spans = run.requests.flatMap((r) => r.spans.map((s) => ({ what: s[0], from: s[1], to: s[2], begin: toPlay(s[3]), end: toPlay(s[4]) })));
      run.requests.forEach((r, i) => { r.playBegin = toPlay(ends[i][0]); r.playEnd = toPlay(ends[i][1]); });
      $("played").textContent = (run.requests.length === run.total ? "All " : run.requests.length.toLocaleString("en") + " consecutive of ")
        + run.total.toLocaleString("en") + " requests" + (run.requests.length === run.total ? "" : ", around the time when most were in flight")
        + ". A dot travels from when a payload is handed over until its last bit arrives; idle time is skipped.";
      const first = spans.filter((s) => s.what === FEATURES && s.from !== s.to)[0];
      at = first ? (first.begin + first.end) / 2 : 0;
      resize();
    };

    let scale, offsetX, offsetY, ratio;
    const resize = () => {
      const width = canvas.clientWidth;
      if (!width || !run) return;
      ratio = window.devicePixelRatio || 1;
      const height = Math.round(Math.min(width * 0.8, 560));
      canvas.style.height = height + "px";
      canvas.width = width * ratio; canvas.height = height * ratio;
      const places = run.moves.length ? run.moves.flatMap((move) => move[1]) : run.devices.map((d) => [d.x, d.y]);
      const xs = places.map((p) => p[0]), ys = places.map((p) => p[1]);
      const low = (v) => v.reduce((a, b) => Math.min(a, b), Infinity), high = (v) => v.reduce((a, b) => Math.max(a, b), -Infinity);
      const pad = 42;
      scale = Math.min((width - 2 * pad) / Math.max(high(xs) - low(xs), 1), (height - 2 * pad) / Math.max(high(ys) - low(ys), 1));
      offsetX = width / 2 - scale * (low(xs) + high(xs)) / 2;
      offsetY = height / 2 + scale * (low(ys) + high(ys)) / 2;
      render();
    };
    const latest = (rows, us) => {
      let low = 0, high = rows.length - 1;
      while (low < high) { const middle = (low + high + 1) >> 1; if (rows[middle][0] <= us) low = middle; else high = middle - 1; }
      return low;
    };
    const place = (us) => {
      if (!run.moves.length) return;
      const i = latest(run.moves, us), [begin, from] = run.moves[i], [end, to] = run.moves[Math.min(i + 1, run.moves.length - 1)];
      const share = end > begin ? Math.min(Math.max((us - begin) / (end - begin), 0), 1) : 0;
      run.devices.forEach((d, k) => { d.x = from[k][0] + share * (to[k][0] - from[k][0]); d.y = from[k][1] + share * (to[k][1] - from[k][1]); });
    };
    const x = (device) => offsetX + scale * device.x, y = (device) => offsetY - scale * device.y;
    const circle = (cx, cy, radius, fill, stroke, lineWidth) => {
      context.beginPath(); context.arc(cx, cy, radius, 0, 2 * Math.PI);
      if (fill) { context.fillStyle = fill; context.fill(); }
      if (stroke) { context.strokeStyle = stroke; context.lineWidth = lineWidth || 1; context.stroke(); }
    };

    const render = () => {
      if (!ratio) return;
      const names = ["line", "text", "muted", "accent", "features", "output", "other", "expert", "right", "wrong", "soft", "bg"];
      const colors = Object.fromEntries(names.map((name) => [name, css("--" + name)]));
      const many = run.devices.length > 60, radius = many ? 4 : 7;
      const us = toSimulated(at);
      place(us);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.strokeStyle = colors.line; context.lineWidth = 1;
      context.beginPath();
      for (const [a, b] of run.links.length ? run.links[latest(run.links, us)][1] : []) { context.moveTo(x(run.devices[a]), y(run.devices[a])); context.lineTo(x(run.devices[b]), y(run.devices[b])); }
      context.stroke();
      for (const span of spans) {
        if (span.what === EXPERT && span.begin <= at && at <= span.end + GLOW_S) {
          const strength = at <= span.end ? 1 : 1 - (at - span.end) / GLOW_S, device = run.devices[span.to];
          context.globalAlpha = 0.45 * strength;
          circle(x(device), y(device), radius + 6 + 10 * strength, colors.expert);
          context.globalAlpha = 1;
        }
      }
      let flying = 0;
      const asking = new Set();
      for (const request of run.requests) {
        const device = run.devices[request.client];
        if (request.playBegin <= at && at < request.playEnd) { flying += 1; asking.add(request.client); }
        if (request.end !== null && request.playEnd <= at && at <= request.playEnd + GLOW_S) {
          context.globalAlpha = 1 - (at - request.playEnd) / GLOW_S;
          circle(x(device), y(device), radius + 4 + 14 * (at - request.playEnd) / GLOW_S, null, request.correct ? colors.right : colors.wrong, 3);
          context.globalAlpha = 1;
        }
      }
      run.devices.forEach((device, i) => {
        const fill = asking.has(i) ? colors.accent : colors.muted;
        if (device.kind === "base_station") { context.fillStyle = fill; context.fillRect(x(device) - radius, y(device) - radius, 2 * radius, 2 * radius); }
        else circle(x(device), y(device), radius, fill, colors.bg, 1.5);
        if (many) return;
        const here = device.kind === "base_station" ? run.devices.filter((d) => d.kind === device.kind && d.x === device.x && d.y === device.y) : [device];
        if (here[0] !== device) return;  // sectors of a site share a label
        context.textAlign = "center";
        context.font = "11px system-ui, sans-serif"; context.fillStyle = colors.text;
        context.fillText(here.map((d) => d.name).join(" "), x(device), y(device) - radius - 6);
        if (device.experts.length) {
          const shown = device.experts.slice(0, 4).map((e) => "E" + e).join(" ") + (device.experts.length > 4 ? " …" : "");
          context.font = "10px system-ui, sans-serif"; context.fillStyle = colors.muted;
          context.fillText(shown, x(device), y(device) + radius + 13);
        }
      });
      const lanes = new Map();
      for (const span of spans) {
        if (span.what <= 2 && span.begin <= at && at < span.end) {
          const a = run.devices[span.from], b = run.devices[span.to], share = (at - span.begin) / (span.end - span.begin);
          const px = x(a) + share * (x(b) - x(a)), py = y(a) + share * (y(b) - y(a));
          const key = Math.round(px / 6) + "," + Math.round(py / 6), twin = lanes.get(key) || 0;
          lanes.set(key, twin + 1);
          const angle = Math.atan2(y(b) - y(a), x(b) - x(a)) + Math.PI / 2, shift = twin ? (twin % 2 ? 1 : -1) * 7 * Math.ceil(twin / 2) : 0;
          circle(px + shift * Math.cos(angle), py + shift * Math.sin(angle), many ? 3.5 : 5,
            span.what === FEATURES ? colors.features : span.what === OUTPUT ? colors.output : colors.other, colors.bg, 1);
        }
      }
      slider.value = String(Math.round(10000 * at / length));
      const t = run.begin_s + us / 1e6, done = run.requests.filter((r) => r.end !== null && r.playEnd <= at).length;
      const factor = 1e6 * slow / Number(speed.value);
      $("clock").textContent = `t = ${t.toFixed(6)} s · ${flying} in flight · ${done} of ${run.requests.length} answered · `
        + (factor >= 1 ? `slowed ${Number(factor.toPrecision(2)).toLocaleString("en")} times` : `sped up ${Number((1 / factor).toPrecision(2)).toLocaleString("en")} times`);
    };

    const frame = (now) => {
      if (!playing) return;
      at = Math.min(at + Math.min(now - before, 100) / 1000 * Number(speed.value), length);
      before = now;
      render();
      if (at >= length) pause(); else requestAnimationFrame(frame);
    };
    const pause = () => { playing = false; $("play").textContent = "▶"; $("play").setAttribute("aria-label", "play"); };
    const play = () => {
      if (at >= length) at = 0;
      playing = true; before = performance.now();
      $("play").textContent = "❚❚"; $("play").setAttribute("aria-label", "pause");
      requestAnimationFrame(frame);
    };
    $("play").addEventListener("click", () => (playing ? pause() : play()));
    slider.addEventListener("input", () => { at = length * Number(slider.value) / 10000; render(); });
    speed.addEventListener("change", render);
    data.runs.forEach((each, i) => { const option = document.createElement("option"); option.value = String(i); option.textContent = each.label; $("run").append(option); });
    $("choice").hidden = data.runs.length < 2;
    $("run").addEventListener("change", () => { pause(); choose(Number($("run").value)); });
    new ResizeObserver(() => { if (canvas.clientWidth * (ratio || 0) !== canvas.width) resize(); }).observe(canvas);
    choose(0);
    return { draw: render, resize, pause };
  })();

  // Theme and print
  const dark = matchMedia("(prefers-color-scheme: dark)");
  $("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    themed();
  });
  dark.addEventListener("change", themed);
  let theme;
  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    root.classList.add("printing");
    player.resize();
    drawAll([...document.querySelectorAll(".chart")]);
    drawn.forEach((chart) => { draw(chart); Plotly.Plots.resize(chart); });
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    if (theme === undefined) delete root.dataset.theme; else root.dataset.theme = theme;
    themed();
  });

  const wanted = tabs.findIndex((tab) => "#" + tab.dataset.name === location.hash);
  show(Math.max(wanted, 0), false, (work) => requestAnimationFrame(() => setTimeout(work)));
  addEventListener("hashchange", () => { const i = tabs.findIndex((tab) => "#" + tab.dataset.name === location.hash); if (i >= 0) show(i); });
})();
