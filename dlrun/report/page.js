"use strict";
function on_each(selector, act, root) { (root || document).querySelectorAll(selector).forEach(act); }
function make(tag, kind, text) {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

// Tables: a heading sorts by its column, empty cells last.
function key(cell) { return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim(); }
function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return down ? -order : order;
}
on_each("table.sortable", function (table) {
  on_each("thead th", function (head, column) {
    const button = make("button", "", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", function () {
      const down = head.getAttribute("aria-sort") === "ascending";
      on_each("thead th", function (other) { other.removeAttribute("aria-sort"); }, table);
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      Array.from(body.rows).sort(function (a, b) {
        return compare(key(a.cells[column]), key(b.cells[column]), down);
      }).forEach(function (row) { body.appendChild(row); });
    });
  }, table);
});

// Commands: a button that copies.
on_each("code.command", function (code) {
  const button = make("button", "copy", "copy");
  button.type = "button";
  button.setAttribute("aria-label", "Copy the command");
  button.addEventListener("click", function () {
    function done() {
      button.textContent = "copied";
      setTimeout(function () { button.textContent = "copy"; }, 1500);
    }
    function by_hand() {
      getSelection().selectAllChildren(code);
      if (document.execCommand("copy")) done();
    }
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, by_hand);
    else by_hand();
  });
  code.after(button);
});

// Curves: a crosshair with the values at its epoch, by the pointer or the arrow keys.
on_each("svg[data-hover]", function (svg) {
  const hover = JSON.parse(svg.dataset.hover), values = svg.parentNode.querySelector(".values");
  const cross = document.createElementNS(svg.namespaceURI, "line");
  cross.setAttribute("class", "cross");
  cross.setAttribute("y1", 10);
  cross.setAttribute("y2", 214);
  svg.append(cross);
  let at = null;
  function show(index) {
    at = Math.max(0, Math.min(hover.x.length - 1, index));
    cross.setAttribute("x1", hover.at[at]);
    cross.setAttribute("x2", hover.at[at]);
    cross.classList.add("on");
    values.replaceChildren(make("b", "", hover.across + " " + hover.x[at]));
    hover.lines.forEach(function (line) {
      if (line.y[at] !== null) values.append(make("span", line.part, line.name + " " + line.y[at]));
    });
  }
  function hide() {
    at = null;
    cross.classList.remove("on");
    values.replaceChildren();
  }
  svg.addEventListener("pointermove", function (event) {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    let nearest = 0;
    hover.at.forEach(function (place, i) {
      if (Math.abs(place - x) < Math.abs(hover.at[nearest] - x)) nearest = i;
    });
    show(nearest);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", function (event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at === null ? (step > 0 ? 0 : hover.x.length - 1) : at + step);
  });
});

// A link to something that is folded unfolds it.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const folded = target && target.closest("details");
  if (!folded) return;
  folded.open = true;
  folded.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
