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
// Two strategies side by side, without a choice the one ahead and plain training; which ones stands in the address.
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
  const number = (text) => Number(text.replace("−", "-"));
  const flip = (text) => (number(text) ? (text[0] === "+" ? "−" : "+") + text.slice(1) : text);
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
    if (one === other) return ["Choose two strategies.", ""];
    if (!whole) return ["There is nothing to compare over all streams; see each.", ""];
    const [units, sign, , , , ...p] = whole;
    const few = units === 1 ? `1 ${all.unit.slice(0, -1)} decides` : `${units} ${all.unit} decide`;
    const size = `${one.name} − ${other.name}: ${interval(whole)} ${all.what}, paired over ${units} ${all.unit}`;
    if (units < fewest) return [`No verdict: ${few} nothing.`, `${size}.`];
    const holm = `${size}; ${p} with Holm's correction for all pairs of strategies.`;
    return [sign ? `${(sign > 0 ? one : other).name} is shown to be higher.` : "No difference is shown.", holm];
  };
  const kinds = [...each.tBodies[0].rows].map((row) => row.cells[1].textContent);
  const largest = (kind, a, b) => {
    const found = streams.filter((_, k) => kinds[k] === kind).map(({ pairs }) => pair(pairs, a, b) ?? []);
    return Math.max(...found.flatMap((each) => each.slice(2).map((text) => Math.abs(number(text)))), 0) || 1;
  };
  const draw = (box, found, scale) => {
    box.hidden = !found;
    if (!found) return;
    const [mean, low = mean, high = mean] = found.slice(2).map((text) => 50 + (50 * number(text)) / scale);
    const [line, point] = box.children;
    line.style.setProperty("left", `${low}%`);
    line.style.setProperty("width", `${high - low}%`);
    point.style.setProperty("left", `${mean}%`);
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
      row.cells[6].textContent = found ? found[0] : "–";
      let says = "nothing to compare";
      if (a === b) says = "the same strategy";
      else if (found && found[0] < fewest) says = "too few seeds to tell";
      else if (found) says = found[1] ? `${two[found[1] > 0 ? 0 : 1].name} is higher` : "may be chance";
      row.cells[7].textContent = says;
      draw(row.cells[5].firstChild, found, largest(row.cells[1].textContent, a, b));
    });
    const said = sentence(two, pair(all?.pairs, a, b));
    ["verdict", "because"].forEach((id, k) => (document.getElementById(id).textContent = said[k]));
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
    const first = at[0] >= 0 ? at[0] : Math.max(strategies.findIndex(({ role }) => role === ""), 0);
    const plain = strategies.findIndex(({ role }, k) => role === "lower bound" && k !== first);
    choices[0].selectedIndex = first;
    choices[1].selectedIndex = at[1] >= 0 ? at[1] : plain >= 0 ? plain : first === 0 ? 1 : 0;
    show();
  };
  window.addEventListener("hashchange", read);
  choices[0].closest(".filters").hidden = false;
  document.getElementById("pair").hidden = false;
  read();
}
