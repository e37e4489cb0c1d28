(() => {
  "use strict";
  const root = document.documentElement;
  const board = document.querySelector("table.board");
  if (!board) return;
  root.classList.add("scripted");
  const ranked = board.querySelector("tbody.ranked");
  const heads = [...board.querySelectorAll("thead th[data-column]")];
  const sections = [...board.querySelectorAll("thead th[data-section]")];
  const numFacts = Math.min(...sections.map((th) => parseInt(th.dataset.columns, 10))) - 1;
  const status = document.getElementById("status");
  const form = document.querySelector("form.controls");
  const view = { column: null, direction: null };

  // ------------------------------------------------------------------------------------- sorting
  // A cell without a number stays last in both directions.
  function compare(a, b, column, sign) {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value ?? "");
    if (x === "" || y === "") return (x === "") - (y === "");
    const [p, q] = [Number(x), Number(y)];
    return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y, "en") : p - q);
  }

  function sort(column, direction) {
    const head = heads.find((th) => Number(th.dataset.column) === column);
    if (!head) return;
    const sign = direction === "desc" ? -1 : 1;
    ranked.append(...[...ranked.rows].sort((a, b) => compare(a, b, column, sign)));
    heads.forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    Object.assign(view, { column, direction });
    showPlaces(column);
    status.textContent = "Sorted by " + head.dataset.label + (sign < 0 ? ", high to low." : ", low to high.");
  }

  // Places in the column that the table is sorted by, else in the first column that has places.
  function showPlaces(column) {
    const rows = [...board.querySelectorAll("tbody tr[data-kind]")];
    const has = (i) => rows.some((row) => row.cells[i].dataset.place);
    const first = heads.map((th) => Number(th.dataset.column)).find(has);
    if (first === undefined) return;
    board.classList.add("placed");
    const from = column !== null && has(column) ? column : first;
    for (const row of rows) row.querySelector(".place").textContent = row.cells[from].dataset.place ?? "";
  }

  // ------------------------------------------------------------------------------------ filtering
  const checked = (name) => [...form.querySelectorAll(`[name="${name}"]`)];

  function filter() {
    const wanted = form.querySelector("#find").value.trim().toLowerCase();
    const kinds = new Map(checked("kind").map((box) => [box.value, box.checked]));
    let shown = 0, all = 0;
    for (const row of board.querySelectorAll("tbody tr[data-kind]")) {
      const cells = [...row.cells].slice(0, 1 + numFacts);
      const text = cells.map((cell) => cell.dataset.value + " " + cell.textContent).join(" ");
      row.hidden = !text.toLowerCase().includes(wanted) || kinds.get(row.dataset.kind) === false;
      shown += !row.hidden;
      all += 1;
    }
    const apart = board.querySelector("tr.apart");
    if (apart) apart.hidden = [...apart.parentNode.rows].every((row) => row === apart || row.hidden);
    status.textContent = shown === all ? "" : `${shown} of ${all} rows shown.`;
  }

  function showColumns() {
    const boxes = new Map(checked("section").map((box) => [box.value, box.checked]));
    for (const th of sections) {
      const off = boxes.get(th.dataset.section) === false;
      if (th.hidden === off) continue;
      th.hidden = off;
      const columns = th.dataset.columns.split(" ").map(Number);
      heads.forEach((head) => { if (columns.includes(Number(head.dataset.column))) head.hidden = off; });
      for (const row of board.querySelectorAll("tbody tr[data-kind]")) {
        for (const i of columns) row.cells[i].hidden = off;
      }
    }
    const rest = board.querySelector("tr.apart td");
    const left = heads.filter((th) => !th.hidden).length - 1;
    if (rest) { rest.hidden = left === 0; rest.colSpan = Math.max(1, left); }
  }

  // The URL holds the current view, so that it can be shared.
  function address() {
    const parts = [];
    if (view.column !== null) parts.push(`sort=${view.column}-${view.direction}`);
    if (form) {
      const find = form.querySelector("#find").value.trim();
      if (find) parts.push("find=" + encodeURIComponent(find));
      const off = (name) => checked(name).filter((box) => !box.checked).map((box) => box.value);
      if (off("kind").length) parts.push("without=" + off("kind").join(","));
      if (off("section").length) parts.push("hide=" + off("section").join(","));
    }
    return parts.length ? "#" + parts.join("&") : location.pathname + location.search;
  }

  const remember = () => history.replaceState(null, "", address());

  function decoded(text) {
    try { return decodeURIComponent(text); } catch { return text; }  // a truncated link
  }

  function restore(hash) {
    const saved = new Map(hash.split("&").map((part) => part.split("=")));
    if (form && (saved.has("find") || saved.has("without") || saved.has("hide"))) {
      form.querySelector("#find").value = decoded(saved.get("find") ?? "");
      const off = (key) => (saved.get(key) ?? "").split(",");
      checked("kind").forEach((box) => { box.checked = !off("without").includes(box.value); });
      checked("section").forEach((box) => { box.checked = !off("hide").includes(box.value); });
      filter();
      showColumns();
    }
    const order = /^(\d+)-(asc|desc)$/.exec(saved.get("sort") ?? "");
    if (order) sort(Number(order[1]), order[2]);
  }

  // --------------------------------------------------------------------------------------- drawer
  const drawer = document.getElementById("drawer");
  const data = document.getElementById("classes");
  const classes = data ? JSON.parse(data.textContent) : { names: [], records: {} };
  let opener = null;

  const make = (tag, css, text) => {
    const made = document.createElement(tag);
    if (css) made.className = css;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function open(id, from) {
    if (!drawer || !/^(record|paper|cell)-/.test(id)) return false;
    const number = document.querySelector(`.board a[href="#${CSS.escape(id)}"]`);
    const entry = document.getElementById(id) ?? (number && fromTable(id, number));
    if (!entry) return false;
    opener = from ?? number;
    document.getElementById("drawer-title").textContent = entry.dataset.who;
    document.getElementById("drawer-what").textContent = entry.dataset.what;
    const body = entry.querySelector(".body").cloneNode(true);
    body.querySelectorAll(".classes").forEach(drawClasses);
    document.getElementById("drawer-body").replaceChildren(...body.childNodes);
    // Back closes the drawer, however many entries were opened in it.
    if (location.hash !== "#" + id) history[drawer.open ? "replaceState" : "pushState"](null, "", "#" + id);
    if (!drawer.open) drawer.showModal();
    drawer.scrollTop = 0;
    return true;
  }

  // For a record without an entry: what the table has.
  function fromTable(id, number) {
    const cell = number.closest("td");
    const entry = make("details");
    entry.dataset.who = cell.parentNode.cells[0].dataset.value;
    entry.dataset.what = heads.find((th) => Number(th.dataset.column) === cell.cellIndex).dataset.label;
    const body = make("div", "body"), large = make("p"), facts = make("ul", "remarks");
    large.append(make("b", "", number.textContent));
    facts.append(...number.title.split(" · ").map((fact) => make("li", "", fact)));
    body.append(make("div", "large"), facts, make("h4", "", "Rerun"),
                make("pre", "again", "bench replay " + id.replace("record-", "")), make("div", "classes"));
    body.firstChild.append(large);
    body.lastChild.dataset.record = id.replace("record-", "");
    entry.append(body);
    return entry;
  }

  function drawClasses(place) {
    const own = classes.records[place.dataset.record];
    if (!own) return;
    const names = classes.names[own.names];
    const bars = make("div", "bars");
    const bar = ([i, value, count]) => {
      const track = make("span", "track");
      track.style.setProperty("--value", 100 * value + "%");
      bars.append(make("span", "name", names[i]), make("span", "value", (100 * value).toFixed(1)), track,
                  make("span", "count", count.toLocaleString("en")));
    };
    const unit = own.metric === "AP" ? "true boxes" : "samples";
    place.append(make("h4", "", `Classes: ${own.metric} in %, number of ${unit}`), bars);
    own.worst.forEach(bar);
    const between = own.classes - own.worst.length - own.best.length;
    if (between > 0) bars.append(make("span", "gap", `${between.toLocaleString("en")} classes in between`));
    own.best.forEach(bar);
    if (!own.confused.length) return;
    const table = make("table", "taken");
    for (const [i, count, lost, taken] of own.confused) {
      const row = table.insertRow();
      const head = make("th", "", names[i]);
      head.scope = "row";
      const parts = taken.map(([j, rows]) => `${names[j]} (${rows.toLocaleString("en")})`);
      if (lost) parts.push(`unreadable (${lost.toLocaleString("en")})`);
      row.append(head, make("td", "", parts.join(", ")), make("td", "count", `of ${count.toLocaleString("en")}`));
    }
    place.append(make("h4", "", "What the worst classes are mistaken for"), table);
  }

  if (drawer) {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href], a[*|href]");
      const href = link?.getAttribute("href") ?? "";
      if (!/^#(record|paper|cell)-/.test(href) || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (open(href.slice(1), link)) event.preventDefault();
    });
    document.getElementById("drawer-close").addEventListener("click", () => drawer.close());
    drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
    drawer.addEventListener("close", () => {
      remember();
      opener?.focus();
    });
  }

  // -------------------------------------------------------------------------------------- address
  function follow() {
    const hash = location.hash.slice(1);
    if (open(hash)) return opener?.scrollIntoView({ block: "center", inline: "center" });
    if (hash.includes("=")) restore(hash);
    drawer?.close();
  }

  heads.forEach((th) => th.querySelector("button").addEventListener("click", () => {
    const first = th.dataset.column === "0" ? "asc" : "desc";
    const same = th.getAttribute("aria-sort") === (first === "asc" ? "ascending" : "descending");
    sort(Number(th.dataset.column), same ? (first === "asc" ? "desc" : "asc") : first);
    remember();
  }));
  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => { filter(); showColumns(); remember(); });
  }
  showPlaces(null);
  addEventListener("hashchange", follow);
  follow();
})();
