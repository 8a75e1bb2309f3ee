// Drawing: every function takes a context whose unit is a CSS pixel and draws a window [from, to] of time.

const LEFT = 130; // room for labels at the left of every panel
const ROW = 16; // height of a program
const AXIS = 22; // height of the axis of time

/** Ticks at round distances that cover [low, high], roughly `about` of them. */
function roundTicks(low, high, about) {
  const rough = (high - low) / Math.max(1, about);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

/** Three or four figures, thousands apart. */
function shown(value) {
  const size = Math.abs(value);
  const digits = size >= 1000 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** Axis of time along the top of the canvas. */
function drawAxis(context, view, width, ink) {
  context.fillStyle = ink.faint;
  context.strokeStyle = ink.line;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const tick of roundTicks(view.from, view.to, (width - LEFT) / 90)) {
    const x = view.xOf(tick);
    context.fillText(`${tick.toLocaleString("en-US", { maximumFractionDigits: 6 })} s`, x, AXIS / 2);
    context.fillRect(Math.round(x), AXIS - 4, 1, 4);
  }
}

/** Curves over bins, stacked on each other or each by itself. */
function drawCurves(context, view, { edges, curves, top, stacked }, width, height, ink) {
  const pad = 6;
  const yOf = (value) => height - pad - (value / top) * (height - 2 * pad);
  const first = Math.max(0, lastAtMost(edges, view.from));
  const last = Math.min(edges.length - 2, Math.max(first, lastAtMost(edges, view.to)));
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, width - LEFT, height);
  context.clip();
  const below = new Float64Array(last - first + 1);
  for (const { values, colour } of curves) {
    context.beginPath();
    for (let i = first; i <= last; i++) {
      const value = values[i] + (stacked ? below[i - first] : 0);
      const [x, next, y] = [view.xOf(edges[i]), view.xOf(edges[i + 1]), yOf(value)];
      if (i === first) context.moveTo(x, y);
      else context.lineTo(x, y);
      context.lineTo(next, y);
    }
    if (stacked) {
      for (let i = last; i >= first; i--) {
        const y = yOf(below[i - first]);
        context.lineTo(view.xOf(edges[i + 1]), y);
        context.lineTo(view.xOf(edges[i]), y);
        below[i - first] += values[i];
      }
      context.closePath();
      context.fillStyle = colour;
      context.fill();
    } else {
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.stroke();
    }
  }
  context.restore();
  context.fillStyle = ink.faint;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of roundTicks(0, top, 3)) {
    context.fillText(shown(tick), LEFT - 6, yOf(tick));
    context.globalAlpha = 0.35;
    context.fillRect(LEFT, Math.round(yOf(tick)), width - LEFT, 0.5);
    context.globalAlpha = 1;
  }
}

/** Programs as rows: states in the upper part, pins below them. */
function drawPrograms(context, view, run, order, scroll, selected, width, height, ink) {
  context.textAlign = "right";
  context.textBaseline = "middle";
  const firstRow = Math.floor(scroll / ROW);
  const lastRow = Math.min(order.length - 1, Math.floor((scroll + height) / ROW));
  for (let place = firstRow; place <= lastRow; place++) {
    const program = order[place];
    const y = place * ROW - scroll;
    if (program === selected) {
      context.fillStyle = ink.chosen;
      context.fillRect(0, y, width, ROW);
    }
    context.fillStyle = ink.faint;
    context.fillText(fitted(context, run.programs.names[program], LEFT - 10), LEFT - 6, y + ROW / 2);
  }
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, width - LEFT, height);
  context.clip();
  for (let place = firstRow; place <= lastRow; place++) {
    drawProgram(context, view, run, order[place], place * ROW - scroll, ink);
  }
  context.restore();
}

function drawProgram(context, view, run, program, y, ink) {
  const { turns, pins } = run;
  const end = turns.first[program + 1];
  for (let row = Math.max(turns.first[program], turnAt(run, program, view.from)); row < end && turns.arrival[row] <= view.to; row++) {
    for (const [state, from, to] of statesOfTurn(run, row)) {
      const x = view.xOf(from);
      context.fillStyle = ink.states[state];
      context.fillRect(x, y + 2, Math.max(view.xOf(to) - x, 0.3), ROW - 7);
    }
  }
  if (!pins) return;
  context.fillStyle = ink.states.pinned;
  for (let row = pins.first[program]; row < pins.first[program + 1] && pins.start[row] <= view.to; row++) {
    if (pins.start[row] + pins.length[row] < view.from) continue;
    const x = view.xOf(pins.start[row]);
    context.fillRect(x, y + ROW - 4, Math.max(view.xOf(pins.start[row] + pins.length[row]) - x, 0.3), 3);
  }
}

/** The end of a name as far as it fits: names of one trace often share their beginning. */
function fitted(context, name, width) {
  if (context.measureText(name).width <= width) return name;
  let kept = name;
  while (kept && context.measureText(`…${kept}`).width > width) kept = kept.slice(1);
  return `…${kept}`;
}
