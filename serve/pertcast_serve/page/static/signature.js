/* The form of a signature: files are read here and go nowhere else; long lists are posted, empty boxes stay out. */
(() => {
  "use strict";
  const MOST_BYTES = 4_000_000, LONGEST_ADDRESS = 4_000;
  const form = document.querySelector("[data-signature-form]");
  if (!form) return;
  const refusal = form.querySelector("[data-file-refusal]");

  function refuse(text) {
    refusal.textContent = text;
    refusal.hidden = !text;
  }

  // Sets of a GMT file: name, description, genes. One may be for both boxes: names that end with "up" and "down".
  function ofGmt(text, into) {
    const sets = text.split(/\r?\n/).filter(line => line.trim()).map(line => line.split("\t"));
    const find = end => sets.filter(([name]) => new RegExp(`(^|[^a-z])${end}$`, "i").test(name.trim()));
    const [up, down] = [find("up"), find("(down|dn)")];
    const genes = set => set.slice(2).join("\n").trim();
    if (up.length === 1 && down.length === 1) return {up: genes(up[0]), down: genes(down[0])};
    if (sets.length === 1) return {[into]: genes(sets[0])};
    throw new Error(`The file holds ${sets.length} sets, and none is plainly "up" and "down". Bring one set a file.`);
  }

  async function read(input) {
    const file = input.files[0];
    if (!file) return;
    refuse("");
    try {
      if (file.size > MOST_BYTES) throw new Error("The file is larger than 4 MB. Use pertcast query for it.");
      const text = await file.text();
      if (text.includes("\0")) throw new Error("The file is no text. Save it as csv or txt.");
      const found = /\.gmt$/i.test(file.name) ? ofGmt(text, input.dataset.into) : {[input.dataset.into]: text};
      for (const [name, value] of Object.entries(found)) form.elements[name].value = value;
      document.getElementById("announcement").textContent = `${file.name} was read`;
    } catch (error) {
      refuse(`${file.name}: ${error.message}`);
    }
    input.value = "";
  }

  form.addEventListener("change", event => {
    if (event.target.type === "file") read(event.target);
  });
  form.addEventListener("submit", () => {
    const texts = ["up", "down", "values"].map(name => form.elements[name].value);
    form.method = texts.join("").length > LONGEST_ADDRESS ? "post" : "get";
  });
  form.addEventListener("formdata", event => {
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });
})();
