/* Screens: the form becomes the JSON of /v1/screens; what is refused is shown in place, and nothing typed is lost. */
(() => {
  "use strict";
  const root = document.documentElement.dataset.root;
  const origin = location.origin + root.replace(/\/ui$/, "");
  const columns = {gene: "pert_id", compound: "pert_id", smiles: "canonical_smiles"};
  const known = ["pert_id", "pert_type", "cell_iname", "pert_dose", "pert_time", "canonical_smiles", "targets"];
  const count = new Intl.NumberFormat("en-US");

  // Lists: csv, tsv or one name a line. Quotes hold separators and line ends.
  function cells(text) {
    const first = text.split("\n", 1)[0];
    const separator = ["\t", ";", ","].find(each => first.includes(each)) ?? ",";
    const rows = [[]];
    let cell = "", isQuoted = false;
    for (let at = 0; at < text.length; at++) {
      const letter = text[at];
      if (isQuoted && letter === '"' && text[at + 1] === '"') { cell += '"'; at++; }
      else if (letter === '"' && (isQuoted || !cell)) isQuoted = !isQuoted;
      else if (!isQuoted && letter === separator) { rows.at(-1).push(cell); cell = ""; }
      else if (!isQuoted && letter === "\n") { rows.at(-1).push(cell); rows.push([]); cell = ""; }
      else if (letter !== "\r") cell += letter;
    }
    rows.at(-1).push(cell);
    return rows.map(row => row.map(each => each.trim())).filter(row => row.some(each => each));
  }

  function headings(first) {
    const named = first.map(each => columns[each] ?? each);
    if (!named.some(each => known.includes(each))) return null;
    const strange = named.filter(each => !known.includes(each));
    if (strange.length) throw new Error(`The list has a column ${strange.join(" and ")}. Use ${known.join(", ")}.`);
    return named;
  }

  function listRows(text) {
    const rows = cells(text);
    if (!rows.length) throw new Error("The list is empty. Paste names, one a line, or choose the model's own.");
    const named = headings(rows[0]);
    const names = named ?? ["pert_id", "canonical_smiles"];
    return rows.slice(named ? 1 : 0).map((row, place) => {
      if (row.length > names.length)
        throw new Error(`Row ${place + 1} of the list has ${row.length} columns, not ${names.length}. Quote commas.`);
      return Object.fromEntries(row.flatMap((value, at) => value ? [[names[at], valued(names[at], value, place)]] : []));
    });
  }

  function valued(name, value, place) {
    if (name !== "pert_dose" && name !== "pert_time") return value;
    const number = Number(value);
    if (!Number.isFinite(number)) throw new Error(`Row ${place + 1} of the list: ${name} ${value} is no number.`);
    return number;
  }

  const words = text => text.split(/[\s,;]+/).filter(each => each);

  // The body of /v1/screens; what is left open stays out of it.
  function bodyOf(form) {
    const data = new FormData(form);
    const body = {kind: data.get("kind")};
    for (const name of ["model", "title", "gene_sets"]) if (data.get(name)) body[name] = data.get(name);
    if (data.get("library") === "list") body.rows = listRows(data.get("list"));
    for (const name of ["cell_iname", "pert_type"]) if (data.has(name)) body[name] = data.getAll(name);
    for (const name of ["pert_dose", "pert_time"]) if (data.has(name)) body[name] = data.getAll(name).map(Number);
    const up = words(data.get("up") ?? ""), down = words(data.get("down") ?? "");
    if (up.length || down.length) {
      if (!up.length || !down.length) throw new Error("A signature needs both: genes that rise, and genes that fall.");
      Object.assign(body, {up, down, objective: data.get("objective")});
    }
    if (data.has("skip_unknown")) body.skip_unknown = true;
    return body;
  }

  async function ask(path, body, headers = {}) {
    const answer = await fetch(origin + path, {method: "POST", body: JSON.stringify(body),
      headers: {"Content-Type": "application/json", Accept: "application/json", ...headers}});
    const found = await answer.json().catch(() => ({}));
    if (answer.ok) return found;
    const error = new Error(found.detail ?? `The server answered ${answer.status}. Try again in a moment.`);
    throw Object.assign(error, {title: found.title, rows: found.errors ?? []});
  }

  function element(name, text, kind = "") {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function refuse(form, error) {
    const box = form.querySelector("[data-refusal]");
    const isOffline = error instanceof TypeError;
    box.replaceChildren(element("strong", error.title ?? (isOffline ? "The server cannot be reached" : "Please check")),
      element("p", isOffline ? "Nothing was lost. Try again in a moment." : error.message));
    const rows = (error.rows ?? []).slice(0, 20);
    if (rows.length > 1) {
      const list = document.createElement("ul");
      for (const row of rows) list.append(element("li", rowWords(row)));
      box.append(list);
    }
    box.hidden = false;
    box.focus();
  }

  function rowWords(row) {
    const place = row.field ?? (row.row !== undefined ? `row ${row.row}` : "");
    const near = row.suggestions?.length ? ` Did you mean ${row.suggestions.join(", ")}?` : "";
    return `${place}${place ? ": " : ""}${row.message ?? row.reason ?? JSON.stringify(row)}${near}`;
  }

  async function whileBusy(form, button, work) {
    if (form.dataset.busy) return;
    form.dataset.busy = "yes";
    const before = button.textContent;
    button.setAttribute("aria-busy", "true");
    if (button.dataset.busyText) button.textContent = button.dataset.busyText;
    form.querySelector("[data-refusal]").hidden = true;
    try {
      await work();
    } catch (error) {
      refuse(form, error);
    } finally {
      delete form.dataset.busy;
      if (button.dataset.busyText) button.textContent = before;
      button.removeAttribute("aria-busy");
    }
  }

  // One key for one content: starting the same twice, by a double click or after a lost answer, starts one.
  let sent = {content: "", key: ""};
  function start(form, button) {
    return whileBusy(form, button, async () => {
      const body = bodyOf(form), content = JSON.stringify(body);
      if (sent.content !== content) sent = {content, key: unguessable()};
      const screen = await ask("/v1/screens", body, {"Idempotency-Key": sent.key});
      location.assign(`${root}/screens/one?id=${encodeURIComponent(screen.id)}`);
    });
  }

  // crypto.randomUUID is missing where the address is not https.
  function unguessable() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map(each => each.toString(16).padStart(2, "0")).join("");
  }

  function estimate(form, button) {
    return whileBusy(form, button, async () => {
      const found = await ask("/v1/screens/estimate", bodyOf(form));
      const box = form.querySelector("[data-estimate]");
      const facts = [["perturbations", count.format(found.n_perturbations)], ["profiles", count.format(found.n_profiles)],
        ["time", duration(found.seconds)], ["size", size(found.bytes)], ["refused rows", count.format(found.n_refused)]];
      const list = document.createElement("dl");
      list.className = "facts";
      for (const [name, value] of facts) list.append(element("dt", name), element("dd", value));
      box.replaceChildren(list);
      if (found.remarks.length) {
        const remarks = document.createElement("ul");
        for (const remark of found.remarks) remarks.append(element("li", remark));
        box.append(remarks);
      }
      box.hidden = false;
      document.getElementById("announcement").textContent = `${count.format(found.n_profiles)} profiles`;
    });
  }

  function duration(seconds) {
    if (seconds === null) return "not known";
    if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
    return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`;
  }

  function size(bytes) {
    if (bytes === null) return "not known";
    return bytes < 1e6 ? `${count.format(Math.ceil(bytes / 1e3))} kB` : `${(bytes / 1e6).toPrecision(3)} MB`;
  }

  // Commands that do the same elsewhere: the page brings their texts, and the body's JSON is put in, quoted.
  const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
  const commands = {
    shell: (body, text) => text.replace("{body}", () => quoted(JSON.stringify(body))),
    string: (body, text) => text.replace("{body}", () => JSON.stringify(JSON.stringify(body))),
    command: body => ["pertcast screen", body.kind, ...(body.rows ? ["list.csv"] : []), "--model RUN --out SCREEN",
      ...option("cells", body.cell_iname), ...option("pert-types", body.pert_type), ...option("doses", body.pert_dose),
      ...option("times", body.pert_time), ...(body.up ? ["--up up.grp --down down.grp --objective", body.objective] : []),
      ...(body.gene_sets ? [`--gmt ${quoted(`${body.gene_sets}.gmt`)}`] : []),
      ...(body.skip_unknown ? ["--skip-unknown"] : [])].join(" "),
  };
  const option = (name, values) => values ? [`--${name} ${quoted(values.join(","))}`] : [];

  function copyAs(form, button) {
    delete button.dataset.copy;
    const {copyAs: kind, text} = button.dataset;
    return whileBusy(form, button, async () => { button.dataset.copy = commands[kind](bodyOf(form), text); });
  }

  // Only what concerns the chosen kind is shown; hidden boxes send nothing.
  function showFields(form) {
    const kind = form.querySelector("[name=kind]:checked")?.value ?? form.elements.kind.value;
    for (const box of form.querySelectorAll("[data-kinds]")) {
      box.hidden = !box.dataset.kinds.split(" ").includes(kind);
      box.disabled = box.hidden;
    }
    const own = form.querySelector("[name=library][value=own]");
    if (own?.disabled || (own && kind === "table")) form.querySelector("[name=library][value=list]").checked = true;
    if (own) own.disabled = kind === "table";
    const list = form.querySelector("[data-list]");
    if (list) list.hidden = form.querySelector("[name=library]:checked")?.value !== "list";
  }

  async function readFile(input) {
    const file = input.files[0];
    if (!file) return;
    const form = input.form;
    if (file.size > Number(input.dataset.most)) {
      refuse(form, new Error(`${file.name} is larger than ${size(Number(input.dataset.most))}. Use pertcast screen for it.`));
      return;
    }
    form.elements.list.value = await file.text();
    form.querySelector("[name=library][value=list]").checked = true;
    showFields(form);
  }

  async function cancel(button) {
    if (!confirm("Stop this screen? Profiles that are written stay, but there will be no ranked hits.")) return;
    const note = document.querySelector("[data-cancel-note]");
    button.disabled = true;
    try {
      const answer = await fetch(`${origin}/v1/screens/${encodeURIComponent(button.dataset.cancel)}`, {method: "DELETE"});
      const found = answer.ok ? {} : await answer.json().catch(() => ({detail: `The server answered ${answer.status}.`}));
      note.textContent = found.detail ?? "Stopping.";
    } catch {
      note.textContent = "The server cannot be reached. Try again in a moment.";
    }
    button.disabled = false;
  }

  document.addEventListener("submit", event => {
    if (!event.target.matches("[data-screen-form]")) return;
    event.preventDefault();
    start(event.target, event.submitter ?? event.target.querySelector("[type=submit]"));
  });
  // Before the page's own listener for [data-copy], which copies what is written there now.
  document.addEventListener("click", event => {
    const target = event.target.closest("[data-estimate-now], [data-copy-as], [data-check], [data-cancel]");
    if (!target) return;
    if (target.dataset.cancel) cancel(target);
    else if (target.dataset.copyAs) copyAs(target.form, target);
    else if (target.dataset.check) {
      for (const box of target.closest("fieldset").querySelectorAll("[type=checkbox]"))
        box.checked = target.dataset.check === "all";
    } else estimate(target.form, target);
  }, true);
  document.addEventListener("change", event => {
    const form = event.target.closest("[data-screen-form]");
    if (!form) return;
    if (event.target.type === "file") readFile(event.target);
    showFields(form);
  });
  for (const form of document.querySelectorAll("[data-screen-form]")) showFields(form);
})();
