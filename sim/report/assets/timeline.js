// The interactive timeline: panels over one window of time, zoomed and panned together.

const MIN_SPAN_S = 1e-4; // the shortest window to zoom to
const PANEL_HEIGHT = 92;
const DRAGGED_PX = 4; // a press that moves less is a click

class Timeline {
  /** Fill a section that holds the controls with the runs of the page. */
  constructor(root, runs) {
    this.root = root;
    this.runs = runs;
    this.at = (name) => root.querySelector(`[data-at="${name}"]`);
    this.tip = this.at("tip");
    this.said = this.at("said");
    this.scroller = this.at("scroller");
    this.canvas = { axis: this.at("axis"), states: this.at("states"), kv: this.at("kv"), load: this.at("load"), programs: this.at("programs") };
    this.selected = -1;
    this.pointer = null; // { panel, x, y } in CSS pixels while the pointer is over a panel
    this.queued = false;
    this.listen();
    this.choose(0);
  }

  /** Show one of the runs; the window of time stays, so that runs can be compared. */
  choose(index) {
    const first = !this.run;
    this.run = this.runs[index];
    const longest = Math.max(...this.runs.map((run) => run.end_s));
    if (first) this.whole = { from: 0, to: longest };
    if (first) this.window = { ...this.whole };
    this.pick(-1);
    this.arrange();
    const notes = this.at("notes");
    notes.replaceChildren(...this.run.notes.map((note) => element("p", note)));
  }

  /** Filter and sort the programs. */
  arrange() {
    const { names, arrival, finish, jct } = this.run.programs;
    const { from, to } = this.at("near").checked ? this.window : this.whole;
    const lives = (i) => arrival[i] <= to && finish[i] >= from;
    const wanted = this.at("filter").value.trim().toLowerCase();
    const keys = { arrival: (i) => arrival[i], jct: (i) => -jct[i] };
    const key = keys[this.at("sort").value];
    this.order = [...names.keys()].filter((i) => lives(i) && names[i].toLowerCase().includes(wanted)).sort((a, b) => key(a) - key(b) || a - b);
    const of = this.run.programs.of;
    this.at("count").textContent = `${this.order.length.toLocaleString("en-US")} of ${of.toLocaleString("en-US")} programs`;
    this.at("spacer").style.height = `${this.order.length * ROW}px`;
    this.scroller.scrollTop = 0;
    if (!this.order.includes(this.selected)) this.pick(-1);
    this.redraw();
  }

  /** Choose a program: its row is marked and its turns are listed. */
  pick(program) {
    this.selected = program;
    const table = this.at("turns");
    table.hidden = program < 0;
    if (program >= 0) listTurns(table, this.run, program);
    this.redraw();
  }

  /** Zoom by a factor about a moment, which stays where it is. */
  zoom(factor, about = (this.window.from + this.window.to) / 2) {
    const span = Math.min(this.whole.to, Math.max(MIN_SPAN_S, (this.window.to - this.window.from) * factor));
    const share = (about - this.window.from) / (this.window.to - this.window.from);
    this.show(about - share * span, span);
  }

  /** Show a window of a length from a moment on, kept within the run. */
  show(from, span) {
    const start = Math.max(0, Math.min(from, this.whole.to - span));
    this.window = { from: start, to: start + span };
    if (this.at("near").checked) this.arrange();
    this.redraw();
  }

  /** Choose a program and show its whole life. */
  focus(program) {
    const { arrival, finish } = this.run.programs;
    const span = Math.min(this.whole.to, 1.1 * Math.max(MIN_SPAN_S, finish[program] - arrival[program]));
    this.pick(program);
    this.show((arrival[program] + finish[program] - span) / 2, span);
  }

  pan(seconds) {
    this.show(this.window.from + seconds, this.window.to - this.window.from);
  }

  get width() {
    return this.scroller.clientWidth; // without its scroll bar: all panels end where the programs do
  }

  /** Window of time and how it lies on the screen. */
  get view() {
    const { from, to } = this.window;
    const scale = (this.width - LEFT) / (to - from);
    return { from, to, xOf: (time) => LEFT + (time - from) * scale, timeOf: (x) => from + (x - LEFT) / scale };
  }

  /** Scroll to a moment of a program, and return where it is on the canvas of programs. */
  locate(program, time) {
    const place = this.order.indexOf(program);
    this.scroller.scrollTop = Math.max(0, place * ROW - this.scroller.clientHeight / 2);
    return { x: this.view.xOf(time), y: place * ROW - this.scroller.scrollTop + ROW / 2 };
  }

  // Drawing -------------------------------------------------------------------------------------------

  /** Draw once with the next frame, however many changes come before it. */
  redraw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.draw();
    });
  }

  draw() {
    const { run, view, width } = this;
    const ink = inks(this.root);
    const height = this.scroller.clientHeight;
    drawAxis(this.blank("axis", width, AXIS, ink), view, width, ink);
    for (const name of ["states", "kv", "load"]) {
      drawCurves(this.blank(name, width, PANEL_HEIGHT, ink), view, curvesOf(run, name, ink), width, PANEL_HEIGHT, ink);
    }
    const context = this.blank("programs", width, height, ink);
    drawPrograms(context, view, run, this.order, this.scroller.scrollTop, this.selected, width, height, ink);
    this.hover();
  }

  /** An empty canvas of this size, sharp on every screen. */
  blank(name, width, height, ink) {
    const canvas = this.canvas[name];
    const dots = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = canvas.getContext("2d");
    context.scale(dots, dots);
    context.font = ink.font;
    return context;
  }

  /** Say what is under the pointer. */
  hover() {
    const lines = this.pointer && this.pointer.x >= LEFT ? this.describe(this.pointer) : null;
    this.tip.hidden = !lines;
    this.at("cursor").hidden = !(this.pointer && this.pointer.x >= LEFT);
    if (this.pointer) this.at("cursor").style.left = `${this.pointer.x}px`;
    if (!lines) return;
    this.tip.replaceChildren(...lines.map((line, i) => element(i ? "div" : "strong", line)));
    const { x, top } = this.pointer;
    const right = x + 16 + this.tip.offsetWidth < this.width;
    this.tip.style.left = `${right ? x + 16 : Math.max(0, x - 16 - this.tip.offsetWidth)}px`;
    this.tip.style.top = `${top + 14}px`;
  }

  describe({ panel, x, y }) {
    const time = this.view.timeOf(x);
    if (panel === "programs") {
      const program = this.order[Math.floor((y + this.scroller.scrollTop) / ROW)];
      return program === undefined ? null : describeProgram(this.run, program, time);
    }
    return panel === "axis" ? null : describeCurves(this.run, panel, time);
  }

  // Input ---------------------------------------------------------------------------------------------

  listen() {
    this.at("run").addEventListener("change", (event) => this.choose(Number(event.target.value)));
    this.at("filter").addEventListener("input", () => this.arrange());
    this.at("sort").addEventListener("change", () => this.arrange());
    this.at("near").addEventListener("change", () => this.arrange());
    this.at("in").addEventListener("click", () => this.zoom(0.5));
    this.at("out").addEventListener("click", () => this.zoom(2));
    this.at("all").addEventListener("click", () => this.show(0, this.whole.to));
    this.scroller.addEventListener("scroll", () => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(this.at("panels"));
    for (const change of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(change).addEventListener("change", () => this.draw());
    }
    for (const [panel, canvas] of Object.entries(this.canvas)) this.listenToPointer(panel, canvas);
    this.at("panels").addEventListener("keydown", (event) => this.key(event));
  }

  listenToPointer(panel, canvas) {
    let pressed = null;
    const place = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      const above = this.at("panels").getBoundingClientRect().top;
      return { panel, x: event.clientX - left, y: event.clientY - top, top: event.clientY - above };
    };
    canvas.addEventListener("pointerdown", (event) => {
      pressed = { ...place(event), from: this.window.from, scroll: this.scroller.scrollTop, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = place(event);
      if (!pressed) return this.hover();
      const [dx, dy] = [this.pointer.x - pressed.x, this.pointer.y - pressed.y];
      pressed.moved ||= Math.hypot(dx, dy) > DRAGGED_PX;
      if (!pressed.moved) return undefined;
      const span = this.window.to - this.window.from;
      this.show(pressed.from - (dx / (this.width - LEFT)) * span, span);
      if (panel === "programs") this.scroller.scrollTop = pressed.scroll - dy;
      return undefined;
    });
    canvas.addEventListener("pointerup", (event) => {
      if (pressed && !pressed.moved && panel === "programs") {
        const program = this.order[Math.floor((place(event).y + this.scroller.scrollTop) / ROW)];
        this.pick(program === undefined || program === this.selected ? -1 : program);
      }
      pressed = null;
    });
    canvas.addEventListener("dblclick", (event) => {
      const program = panel === "programs" ? this.order[Math.floor((place(event).y + this.scroller.scrollTop) / ROW)] : undefined;
      if (program !== undefined) this.focus(program);
    });
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.hover();
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        // Without a modifier the wheel scrolls the page or the programs, as everywhere.
        if (event.ctrlKey || event.metaKey) this.zoom(1.0015 ** event.deltaY, this.view.timeOf(place(event).x));
        else if (event.shiftKey) this.pan(((event.deltaY || event.deltaX) / this.width) * (this.window.to - this.window.from));
        else return;
        event.preventDefault();
      },
      { passive: false },
    );
  }

  key(event) {
    const span = this.window.to - this.window.from;
    const actions = {
      ArrowLeft: () => this.pan(-span / 8),
      ArrowRight: () => this.pan(span / 8),
      ArrowUp: () => this.step(-1),
      ArrowDown: () => this.step(1),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.show(0, this.whole.to),
      Enter: () => this.selected >= 0 && this.focus(this.selected),
      Escape: () => this.pick(-1),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
    actions[event.key]();
    event.preventDefault();
  }

  /** Choose the next program up or down and say which it is. */
  step(by) {
    if (!this.order.length) return;
    const from = this.order.indexOf(this.selected);
    const place = from < 0 ? 0 : Math.max(0, Math.min(this.order.length - 1, from + by));
    this.pick(this.order[place]);
    this.scroller.scrollTop = Math.max(0, place * ROW - this.scroller.clientHeight / 2);
    const { names, jct, turns } = this.run.programs;
    this.said.textContent = `${names[this.selected]}: ${turns[this.selected]} turns, JCT ${shown(jct[this.selected])} s`;
  }
}
