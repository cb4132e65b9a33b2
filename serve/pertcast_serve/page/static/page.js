
/* The page: figures, the search box, copying, signing in. No inline handlers, no eval. */
(() => {
  "use strict";
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const root = document.documentElement.dataset.root;
  const prefix = root.replace(/\/ui$/, "");
  const origin = location.origin + prefix;
  const search = document.getElementById("search");
  const results = document.getElementById("search-results");

  // Figures: Plotly is large, so it is fetched once, when there is something to draw.
  let plotly = null;
  function loadPlotly() {
    plotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = document.body.dataset.plotly;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return plotly;
  }

  // Figures hold addresses without the prefix of a proxy.
  function follow(box, own) {
    if (!own.startsWith("/ui/")) return;
    const address = prefix + own;
    const target = box.dataset.clickTarget;
    if (target) htmx.ajax("GET", address, {target, swap: "innerHTML"});
    else location.assign(address);
  }

  // What was asked for by a click opens elsewhere on the page: the eye and the keyboard follow it there.
  function goTo(opened) {
    if (!opened) return;
    opened.tabIndex = -1;
    opened.focus({preventScroll: true});
    opened.scrollIntoView({block: "nearest", behavior: reducedMotion ? "auto" : "smooth"});
  }

  async function drawFigures() {
    const boxes = [...document.querySelectorAll("[data-figure]:not([data-drawn])")];
    if (!boxes.length) return;
    for (const box of boxes) box.dataset.drawn = "waiting";
    const Plotly = await loadPlotly();
    for (const box of boxes) {
      const spec = JSON.parse(box.querySelector("script").textContent);
      box.replaceChildren();
      await Plotly.newPlot(box, spec.data, spec.layout, {responsive: true, displaylogo: false,
        displayModeBar: "hover", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]});
      hideCollidingLabels(box);
      box.on("plotly_afterplot", () => hideCollidingLabels(box));
      box.on("plotly_click", event => {
        const own = event.points[0]?.customdata;
        const address = Array.isArray(own) ? own[0] : own;
        if (typeof address === "string") follow(box, address);
      });
      box.dataset.drawn = "yes";
    }
  }

  function announce(text) {
    document.getElementById("announcement").textContent = text;
  }

  // Copying. Where the address is not https the clipboard interface is missing; a selection is copied then.
  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("not copied");
  }

  async function onCopy(button) {
    const text = button.dataset.copy.replaceAll("{origin}", origin).replaceAll("{here}", location.href);
    const before = button.textContent;
    try {
      await copy(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    announce(button.textContent);
    setTimeout(() => { button.textContent = before; }, 1400);
  }

  // Downloads: what an endpoint answers to a body, saved under a name.
  async function download(button) {
    const before = button.textContent;
    button.disabled = true;
    try {
      const answer = await fetch(origin + button.dataset.download, {method: "POST", body: button.dataset.body,
        headers: {"Content-Type": "application/json", "Accept": button.dataset.accept}});
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const saved = document.createElement("a");
      saved.href = URL.createObjectURL(await answer.blob());
      saved.download = button.dataset.file;
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), 10_000);
      announce(`${button.dataset.file} was downloaded`);
    } catch (error) {
      button.textContent = `Not downloaded: ${error.message}`;
      announce(button.textContent);
      setTimeout(() => { button.textContent = before; }, 6000);
    }
    button.disabled = false;
  }

  // Search: arrows choose, Enter follows, Escape closes.
  const options = () => [...results.querySelectorAll(".option")];
  const active = () => results.querySelector(".option.active");

  function choose(option) {
    for (const other of options()) other.classList.toggle("active", other === option);
    for (const other of options()) other.setAttribute("aria-selected", String(other === option));
    if (option) {
      search.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({block: "nearest"});
    } else search.removeAttribute("aria-activedescendant");
  }

  function showResults(isShown) {
    results.hidden = !isShown || !results.childElementCount;
    search.setAttribute("aria-expanded", String(!results.hidden));
    if (results.hidden) choose(null);
  }

  function onSearchKey(event) {
    const all = options();
    const place = all.indexOf(active());
    if (event.key === "ArrowDown" && all.length) {
      event.preventDefault();
      showResults(true);
      choose(all[(place + 1) % all.length]);
    } else if (event.key === "ArrowUp" && all.length) {
      event.preventDefault();
      choose(all[place > 0 ? place - 1 : all.length - 1]);
    } else if (event.key === "Enter" && active() && !results.hidden) {
      event.preventDefault();
      location.assign(active().href);
    } else if (event.key === "Escape") showResults(false);
  }

  function isTyping(target) {
    return target.closest("input, textarea, select, [contenteditable]") !== null;
  }

  function onKey(event) {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target)) {
      event.preventDefault();
      search?.focus();
      search?.select();
    } else if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
    }
  }

  // Signing in: the key goes to the server once and comes back as a cookie that scripts cannot read.
  async function signIn(form) {
    const refusal = form.querySelector("[data-refusal]");
    refusal.hidden = true;
    const answer = await fetch(form.action, {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({key: form.elements.key.value.trim()})});
    if (answer.ok) {
      const wanted = new URL(form.elements.next.value || root, location.href);
      location.assign(wanted.origin === location.origin ? wanted.href : root);
      return;
    }
    const problem = await answer.json().catch(() => ({detail: `The server answered ${answer.status}.`}));
    refusal.textContent = problem.detail;
    refusal.hidden = false;
    form.elements.key.select();
  }

  async function signOut() {
    await fetch(`${origin}/v1/session`, {method: "DELETE"});
    location.assign(`${root}/login`);
  }

  function onClick(event) {
    const target = event.target.closest("[data-copy], [data-download], [data-sign-out]");
    if (target?.dataset.copy) onCopy(target);
    else if (target?.dataset.download) download(target);
    else if (target) signOut();
    if (search && !event.target.closest(".search")) showResults(false);
    for (const menu of document.querySelectorAll("details.menu[open]"))
      if (!menu.contains(event.target)) menu.open = false;
  }

  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  document.addEventListener("submit", event => {
    if (event.target.matches("[data-sign-in]")) {
      event.preventDefault();
      signIn(event.target);
    }
  });
  search?.addEventListener("keydown", onSearchKey);
  search?.addEventListener("focus", () => showResults(true));
  search?.form.addEventListener("focusout", event => {
    if (event.relatedTarget && !search.form.contains(event.relatedTarget)) showResults(false);
  });
  document.addEventListener("htmx:afterSwap", event => {
    if (event.target === results) {
      showResults(document.activeElement === search);
      choose(null);
    }
    event.target.removeAttribute("aria-busy");
    if (event.target.matches("[data-focus]")) goTo(event.target.firstElementChild);
    drawFigures();
  });
  // A part that was answered by the sign-in page means that the session is over.
  document.addEventListener("htmx:beforeSwap", event => {
    if (new URL(event.detail.xhr.responseURL || location.href).pathname.endsWith("/ui/login")) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:sendError", event => {
    event.target.removeAttribute("aria-busy");
    event.target.textContent = "The server cannot be reached. Reload the page to try again.";
  });
  drawFigures();
})();
