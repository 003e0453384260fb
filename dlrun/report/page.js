document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0];
      Array.from(body.rows).sort(function (a, b) {
        return compare(key(a.cells[column]), key(b.cells[column]), down);
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
document.querySelectorAll("code.command").forEach(function (code) {
  var button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
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
function key(cell) { return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim(); }
function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  var order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return down ? -order : order;
}
