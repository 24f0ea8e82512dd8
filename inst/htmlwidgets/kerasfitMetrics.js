// The metrics of training, epoch by epoch, drawn by plotly.js, 1.31 (Debian 12's) or newer.
//
// The value is {runs, live, log}. A run is {name, epoch, metrics, best}; its validation metrics begin with "val_".
// live, for training that goes on, is {poll: URL of state.json} on a page that asks for it, or {state} in Shiny, where
// each value brings the whole state; see inst/python/kerasfit/live.py for what a state is.
(function () {
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
  const DARK_COLOURS = ["#56b4e9", "#ff8c42", "#2fc79b", "#e39cc4", "#f0c33c", "#9ad0f5"];
  const PANEL_HEIGHT = 200;  // at least
  const GIVE_UP_AFTER = 20;  // questions without an answer
  const TITLES = {
    starting: "Training is about to begin", training: "Training", ended: "Training has ended",
    stopped: "Training was stopped", interrupted: "Training was interrupted", failed: "Training failed",
    lost: "The R session does not answer"
  };

  const twoDigits = (n) => String(Math.floor(n)).padStart(2, "0");
  // what rounds to the next unit is in that one
  function seconds(s) {
    const whole = Math.round(s);
    return s < 9.95 ? `${s.toFixed(1)}s` : whole < 60 ? `${whole}s`
      : whole < 3600 ? `${Math.floor(whole / 60)}m ${twoDigits(whole % 60)}s`
      : `${Math.floor(whole / 3600)}h ${twoDigits(whole % 3600 / 60)}m`;
  }

  function luminance(colour) {
    const [r, g, b, alpha = 1] = (colour.match(/[\d.]+/g) || []).map(Number);
    return alpha === 0 || r === undefined ? null : (0.3 * r + 0.59 * g + 0.11 * b) / 255;
  }

  // of the document that the widget is in; that of a page of its own is the reader's choice
  function isDark(el, ownPage) {
    if (ownPage) return window.matchMedia("(prefers-color-scheme: dark)").matches;
    for (let at = el; at; at = at.parentElement) {
      const light = luminance(getComputedStyle(at).backgroundColor);
      if (light !== null) return light < 0.5;
    }
    return false;
  }

  // [{metric, run, training: {x, y}, validation: {x, y}}], in the order of the panels
  function curves(runs) {
    const found = [];
    runs.forEach((run, number) => {
      for (const [name, values] of Object.entries(run.metrics)) {
        const metric = name.replace(/^val_/, ""), data = name === metric ? "training" : "validation";
        const rows = values.map((y, i) => [run.epoch[i], y]).filter(([, y]) => y !== null && y !== undefined);
        const [x, y] = [0, 1].map((i) => rows.map((row) => row[i]));
        found.push({metric, data, run: number, name: run.name, best: run.best, x, y});
      }
    });
    return found;
  }

  // plotly reads some HTML in texts, old versions after decoding entities: an invisible character keeps these from being any
  const escaped = (name) => String(name).replace(/[<&]/g, "$&\u2060");

  // plotly.js 1 knows titles as text only
  const titled = (text) => Plotly.version.startsWith("1.") ? text : {text, standoff: 6};

  function figure(runs, options, dark, width) {
    const all = curves(runs), metrics = [...new Set(all.map((c) => c.metric))], several = runs.length > 1;
    const columns = metrics.length > 3 && width > 700 ? 2 : 1, rows = Math.ceil(metrics.length / columns) || 1;
    const ink = dark ? "#e8e8e8" : "#222", line = dark ? "#3a3a3a" : "#e2e2e2", palette = dark ? DARK_COLOURS : COLOURS;
    const gap = 0.28 / rows, epochs = runs.flatMap((run) => run.epoch);
    const first = epochs.length ? Math.min(...epochs) : 1, last = Math.max(1, ...epochs);
    const margin = Math.max(0.5, (last - first) / 50);
    const layout = {
      height: rows * PANEL_HEIGHT, margin: {l: 56, r: 16, t: 34, b: 40}, paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, family: "system-ui, sans-serif", size: 12}, hovermode: "x unified",
      hoverlabel: {bgcolor: dark ? "#2a2a2d" : "#fff", font: {color: ink}}, uirevision: "kept",
      legend: {orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left"}, annotations: [], shapes: []
    };
    const traces = [], shown = new Set();
    metrics.forEach((metric, i) => {
      const suffix = i ? String(i + 1) : "", column = i % columns, row = Math.floor(i / columns);
      const left = column / columns + (column ? 0.04 : 0), right = (column + 1) / columns - (column < columns - 1 ? 0.04 : 0);
      const top = 1 - row / rows - (row ? gap / 2 : gap / 4), bottom = 1 - (row + 1) / rows + gap / 3;
      layout["xaxis" + suffix] = {
        domain: [left, right], anchor: "y" + suffix, gridcolor: "rgba(0,0,0,0)", linecolor: line, zeroline: false,
        tickformat: "d", rangemode: "normal", title: row === rows - 1 ? titled("epoch") : undefined,
        hoverformat: "d", dtick: last - first < 10 ? 1 : undefined, range: [first - margin, last + margin]
      };
      layout["yaxis" + suffix] = {
        domain: [bottom, top], anchor: "x" + suffix, gridcolor: line, zeroline: false, automargin: true,
        type: options.log ? "log" : "linear", hoverformat: ".4g"
      };
      layout.annotations.push({
        text: `<b>${escaped(metric)}</b>`, x: left, y: top, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false
      });
      for (const curve of all.filter((c) => c.metric === metric)) {
        const validation = curve.data === "validation";
        const colour = palette[(several ? curve.run : Number(validation)) % palette.length];
        const name = several ? `${escaped(curve.name)}, ${curve.data}` : curve.data;
        traces.push({
          x: curve.x, y: curve.y, name, legendgroup: name, showlegend: !shown.has(name), xaxis: "x" + suffix, yaxis: "y" + suffix,
          mode: curve.x.length <= 30 ? "lines+markers" : "lines", hoverinfo: several ? "y+name" : "y",
          line: {color: colour, width: 2, dash: validation ? "dash" : "solid"},
          marker: {color: colour, size: 5, symbol: validation ? "triangle-up" : "circle"}
        });
        shown.add(name);
        if (validation && !several && curve.best) {
          layout.shapes.push({
            type: "line", x0: curve.best, x1: curve.best, y0: bottom, y1: top, xref: "x" + suffix, yref: "paper",
            line: {color: dark ? "#888" : "#999", width: 1, dash: "dot"}
          });
        }
      }
    });
    return {traces, layout};
  }

  function bestEpoch(run) {
    const values = run.metrics.val_loss || [];
    let best = null;
    values.forEach((y, i) => { if (typeof y === "number" && (best === null || y < values[best])) best = i; });
    return best === null ? null : run.epoch[best];
  }

  HTMLWidgets.widget({
    name: "kerasfitMetrics",
    type: "output",
    factory(el) {
      const ownPage = document.body.classList.contains("kerasfit-page");
      const make = (tag, name, parent) => {
        const made = document.createElement(tag);
        made.className = "kerasfit-" + name;
        return parent.appendChild(made);
      };
      const head = make("div", "head", el), title = make("div", "title", head), facts = make("div", "facts", head);
      const stop = make("button", "stop", head), bar = make("div", "bar", head).appendChild(document.createElement("div"));
      const plot = make("div", "plot", el);
      stop.textContent = "Stop training";
      stop.type = "button";
      let value = {runs: []}, state = null, unanswered = 0;

      function draw() {
        const dark = isDark(el, ownPage);
        el.classList.toggle("dark", dark);
        if (ownPage) document.body.classList.toggle("dark", dark);
        const {traces, layout} = figure(value.runs, value, dark, el.offsetWidth);
        layout.height = Math.max(layout.height, el.clientHeight - head.offsetHeight - 4);
        (Plotly.react || Plotly.newPlot)(plot, traces, layout, {
          displaylogo: false, displayModeBar: value.live ? false : undefined, modeBarButtonsToRemove: ["select2d", "lasso2d"]
        });
      }

      function show() {
        el.classList.add("kerasfit-live");
        el.classList.toggle("kerasfit-failed", ["failed", "lost"].includes(state.status));
        title.textContent = TITLES[state.status] + (state.message ? `: ${state.message}` : "");
        if (ownPage) document.title = `${state.epoch}/${state.epochs ?? "?"} ${TITLES[state.status]}`;
        const going = ["starting", "training"].includes(state.status);
        const step = going && state.steps ? `step ${state.step} of ${state.steps}` : going && state.step ? `step ${state.step}` : null;
        const left = going && state.left !== null ? `${seconds(state.left)} left` : null;
        facts.textContent = [`Epoch ${state.epoch} of ${state.epochs ?? "?"}`, step, seconds(state.elapsed), left]
          .filter(Boolean).join(" · ");
        const first = state.initial_epoch || 1, epochs = Math.max(1, (state.epochs || 1) - first + 1);
        const done = state.rows.epoch.length + (going && state.steps ? state.step / state.steps : 0);
        bar.style.width = `${100 * Math.min(1, done / epochs)}%`;
        stop.hidden = !going;
        if (!going) {  // for a run after this one
          stop.disabled = false;
          stop.textContent = "Stop training";
        }
      }

      // a state into the one run that is watched
      function take(news) {
        // a metric may have any name, "__proto__" too
        const run = value.runs[0] || {name: news.name, epoch: [], metrics: Object.create(null)};
        const before = run.epoch.slice(0, news.from), metrics = Object.create(null);
        for (const [name, values] of Object.entries(news.rows.metrics)) {
          const old = run.metrics[name] || [];
          metrics[name] = before.map((_, i) => old[i] ?? null).concat(values);
        }
        const next = {name: news.name, epoch: before.concat(news.rows.epoch), metrics};
        const redraw = !value.runs.length || next.epoch.length !== run.epoch.length;
        next.best = bestEpoch(next);
        value.runs = [next];
        state = {...news, rows: next};
        show();
        if (redraw) draw();
      }

      async function poll() {
        const known = value.runs.length ? value.runs[0].epoch.length : 0;
        try {
          const answer = await fetch(`${value.live.poll}?after=${known}`, {cache: "no-store"});
          if (!answer.ok) throw new Error(answer.status);
          take(await answer.json());
          unanswered = 0;
        } catch (error) {
          unanswered += 1;
        }
        if (state && !["starting", "training"].includes(state.status)) return;
        if (unanswered > GIVE_UP_AFTER) {
          state = {...(state || {epoch: 0, epochs: null, elapsed: 0, rows: {epoch: []}}), status: "lost", left: null};
          show();
          return;
        }
        setTimeout(poll, document.hidden ? 2000 : 500);
      }

      stop.addEventListener("click", () => {
        stop.disabled = true;
        stop.textContent = "Stopping …";
        if (window.Shiny && Shiny.setInputValue && !ownPage) Shiny.setInputValue(`${el.id}_stop`, Date.now(), {priority: "event"});
        else fetch(state.stop, {method: "POST", mode: "no-cors"}).catch(() => { stop.textContent = "Press Esc in R"; });
      });
      window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

      return {
        renderValue(given) {
          if (given.live && given.live.state) {
            value = {...given, runs: value.live ? value.runs : []};
            take(given.live.state);
            return;
          }
          value = given;
          draw();
          if (value.live) poll();
        },
        resize() { if (value.runs.length) draw(); }
      };
    }
  });
})();
