// A link to a run leads into a box that is closed.
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  const box = target?.closest("details");
  if (!box || box.open) return;
  box.open = true;
  target.scrollIntoView();
};
window.addEventListener("hashchange", reveal);
reveal();
// The search shows the pages that have all the words.
const find = document.getElementById("find");
if (find) {
  const pages = [...document.querySelectorAll(".pages li[data-words]")];
  const texts = pages.map((page) => `${page.textContent} ${page.dataset.words}`.toLowerCase());
  const search = () => {
    const words = find.value.toLowerCase().split(/\s+/);
    pages.forEach((page, k) => (page.hidden = !words.every((word) => texts[k].includes(word))));
    const left = pages.filter((page) => !page.hidden).length;
    document.getElementById("hits").value = `${left} of ${pages.length} pages`;
  };
  find.addEventListener("input", search);
  find.closest(".filters").hidden = false;
  search();
}
// Two strategies side by side; which ones stands in the address.
const choices = ["first", "second"].map((id) => document.getElementById(id));
if (choices[0]) {
  const { strategies, streams, all, fewest } = JSON.parse(document.getElementById("compared").textContent);
  const [about, each] = ["about", "each"].map((id) => document.getElementById(id));
  const link = (text, to) => {
    const a = document.createElement("a");
    a.href = to;
    a.textContent = text;
    return a;
  };
  const flip = (text) => (text[0] === "+" ? "−" : "+") + text.slice(1);
  // A pair is stored once: [units, which one is higher, difference, low, high, p].
  const pair = (pairs, a, b) => {
    if (a === b || !pairs) return null;
    const [i, j] = a < b ? [a, b] : [b, a];
    const found = pairs[i * strategies.length - (i * (i + 1)) / 2 + j - i - 1];
    if (!found || a < b) return found;
    const [units, sign, mean, low, high, ...p] = found;
    return [units, -sign, flip(mean), ...(low ? [flip(high), flip(low)] : []), ...p];
  };
  const interval = ([, , mean, low, high]) => (low ? `${mean} [${low}, ${high}]` : mean);
  const sentence = ([one, other], whole) => {
    if (one === other) return "Choose two strategies.";
    if (!whole) return "There is nothing to compare over all streams; see each.";
    const [units, sign, , , , ...p] = whole;
    const unit = units === 1 ? all.unit.slice(0, -1) : all.unit;
    const size = `${one.name} − ${other.name} is ${interval(whole)} ${all.what}, over ${units} ${unit}`;
    if (units < fewest) return `No verdict: so few ${all.unit} show nothing. ${size}.`;
    const holm = `${size} (${p}, with Holm's correction for all pairs of strategies).`;
    if (!sign) return `No difference is shown. ${holm}`;
    return `${(sign > 0 ? one : other).name} is shown to be higher. ${holm}`;
  };
  const show = () => {
    const [a, b] = choices.map((choice) => choice.selectedIndex);
    const two = [strategies[a], strategies[b]];
    for (const [table, from] of [[about, 1], [each, 2]]) {
      two.forEach(({ name, page }, k) => table.tHead.rows[0].cells[from + k].replaceChildren(link(name, page)));
    }
    [...about.tBodies[0].rows].forEach((row, k) => {
      two.forEach((one, side) => row.cells[1 + side].replaceChildren(link(one.about[k], `${one.page}#runs`)));
    });
    [...each.tBodies[0].rows].forEach((row, k) => {
      const { anchor, scores, pairs } = streams[k];
      [a, b].forEach((of, side) => {
        row.cells[2 + side].replaceChildren(link(scores[of], `${strategies[of].page}#${anchor}`));
      });
      const found = pair(pairs, a, b);
      row.cells[4].textContent = found ? interval(found) : "–";
      row.cells[5].textContent = found ? found[0] : "–";
      let says = "nothing to compare";
      if (a === b) says = "the same strategy";
      else if (found && found[0] < fewest) says = "too few seeds to tell";
      else if (found) says = found[1] ? `${two[found[1] > 0 ? 0 : 1].name} is higher` : "may be chance";
      row.cells[6].textContent = says;
    });
    document.getElementById("verdict").textContent = sentence(two, pair(all?.pairs, a, b));
    history.replaceState(null, "", `#a=${two[0].id}&b=${two[1].id}`);
  };
  choices.forEach((choice) => choice.addEventListener("change", show));
  document.getElementById("swap").addEventListener("click", () => {
    [choices[0].selectedIndex, choices[1].selectedIndex] = [choices[1].selectedIndex, choices[0].selectedIndex];
    show();
  });
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const at = ["a", "b"].map((key) => strategies.findIndex(({ id }) => id === asked.get(key)));
    const first = Math.max(at[0], 0);
    choices[0].selectedIndex = first;
    choices[1].selectedIndex = at[1] >= 0 ? at[1] : first === 0 ? 1 : 0;
    show();
  };
  window.addEventListener("hashchange", read);
  choices[0].closest(".filters").hidden = false;
  document.getElementById("pair").hidden = false;
  read();
}
