/**
 * The live page of the admin endpoint: asks for `/snapshot` each second and shows what happened since
 * the one before; listens to `/events`. Fields are described in docs/operating.md. Everything that
 * comes from there is shown as text, except for the floor plan, which gyre draws itself.
 */

const INTERVAL_MS = 1_000;
/** Snapshots that the histogram looks back on. */
const WINDOW = 10;
const LOG_MAX = 200;
/** Arrows that have a number: the widest. And functions that are named. */
const COUNTS_MAX = 8;
const BLAMED_MAX = 8;
/** Bars of the histogram beyond which every second one is named. */
const BOUNDS_MAX = 12;
/** From so long on a worker that does not return to its loop is shown as standing still. */
const STUCK_SECONDS = 0.2;
const SVG = 'http://www.w3.org/2000/svg';

const at = (id) => document.getElementById(id);
/** The last snapshots, the latest last. */
let seen = [];
let paused = false;
let token = sessionStorage.getItem('gyre-token');
/** Which machine and workers the plan was drawn for. */
let drawnFor = '';

function number(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function duration(seconds) {
  if (seconds === null) return '–';
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${Number((seconds * 1e3).toPrecision(2))} ms` : `${seconds.toFixed(1)} s`;
}

const percent = (share) => (share === null ? '–' : `${Math.round(share * 100)}%`);
const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;
const nameOf = ({ index, spare }) => `${spare ? 'spare' : 'worker'} ${index}`;

function element(tag, text = '', className = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className !== '') made.className = className;
  return made;
}

async function ask(path) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(path, { headers, cache: 'no-store' });
  if (response.status === 401) {
    at('ask').hidden = false;
    throw new Error(token === null ? 'It asks for a token' : 'It asks for another token');
  }
  if (!response.ok) throw new Error(`${path} is answered ${response.status}`);
  return response;
}

/** What happened between two snapshots to one worker, or what there is of it if it is new. */
function figuresOf(worker, before, seconds) {
  const rate = (key) => (worker[key] - (before?.[key] ?? 0)) / seconds;
  const share = (key) => {
    if (worker[key] === null || (before?.[key] ?? null) === null) return null;
    return Math.min(1, Math.max(0, (worker[key] - before[key]) / seconds));
  };
  const idle = share('idleSeconds');
  return {
    load: idle === null ? null : 1 - idle,
    waits: share('runDelaySeconds'),
    ...{ requests: rate('requests'), given: rate('given'), received: rate('received') },
    rescued: rate('rescued'),
    p99: quantile([difference(worker.requestTimes, before?.requestTimes)], 0.99),
  };
}

/** A histogram of what came to `after` since `before`. */
function difference(after, before) {
  const counts = after.counts.map((count, i) => count - (before?.counts[i] ?? 0));
  return { bounds: after.boundsSeconds, counts };
}

function sumOf(histograms) {
  const [first] = histograms;
  return (first?.counts ?? []).map((_, i) =>
    histograms.reduce((total, { counts }) => total + counts[i], 0),
  );
}

/** The bound below which `share` of everything was; null: there is nothing. */
function quantile(histograms, share) {
  const counts = sumOf(histograms);
  const total = counts.reduce((all, one) => all + one, 0);
  if (total === 0) return null;
  let below = 0;
  const bucket = counts.findIndex((count) => {
    below += count;
    return below >= share * total;
  });
  const { bounds } = histograms[0];
  return bounds[Math.min(bucket, bounds.length - 1)];
}

function byIndex(status) {
  return new Map(status.workers.map((worker) => [worker.index, worker]));
}

function show(status, before) {
  const seconds = (status.takenAtMs - before.takenAtMs) / 1e3;
  const earlier = byIndex(before);
  const all = status.workers.map((worker) => ({
    worker,
    figures: figuresOf(worker, earlier.get(worker.index), seconds),
  }));
  const latest = status.workers.map((worker) =>
    difference(worker.requestTimes, earlier.get(worker.index)?.requestTimes),
  );
  const total = (key) => all.reduce((sum, { figures }) => sum + figures[key], 0);
  const connections = status.workers.reduce((sum, worker) => sum + worker.connections, 0);
  const up = duration(status.takenAtMs / 1e3 - status.process.startedAtSeconds);
  at('name').textContent = status.name;
  document.title = `${status.name}: ${number(total('requests'))} requests/s`;
  say(
    `${status.state}${status.ready ? '' : ', not ready'}, process ${status.pid}, gyre ${status.version}, Node ${status.node}`,
    !status.ready,
  );
  at('state').title = `up for ${up}`;
  at('requests').textContent = number(total('requests'));
  at('p50').textContent = duration(quantile(latest, 0.5));
  at('p99').textContent = duration(quantile(latest, 0.99));
  at('connections').textContent = number(connections);
  at('moves').textContent = number(total('received'));
  at('memory').textContent = megabytes(status.process.residentBytes);
  showRows(all);
  showPlan(status, before, all);
  showLatency(status);
  showBlamed(status.blamed);
  for (const { worker, figures } of all) {
    const count = Math.round(figures.rescued * seconds);
    if (count > 0) note(`${count} rescued from ${nameOf(worker)}`);
  }
}

/** Says it once: a reader would hear it each second. */
function say(text, alarm = false) {
  const state = at('state');
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle('alarm', alarm);
}

function showRows(all) {
  const rows = all.map(({ worker, figures }) => {
    const row = element('tr');
    const head = element('th', `${worker.index}${worker.spare ? ' (spare)' : ''}`);
    head.scope = 'row';
    const stuck = worker.stuckSeconds >= STUCK_SECONDS;
    const state = stuck ? `stands still, ${duration(worker.stuckSeconds)}` : worker.state;
    const load = element('td', '');
    if (figures.load !== null) {
      const meter = element('meter');
      meter.value = figures.load;
      meter.setAttribute('aria-label', `load of ${nameOf(worker)}`);
      load.append(meter, ` ${percent(figures.load)}`);
    }
    row.append(head, element('td', worker.cpu === null ? '–' : `${worker.cpu}`));
    row.append(element('td', state, stuck ? 'alarm' : ''), load);
    const rest = [
      ...[number(worker.connections), number(figures.requests), duration(figures.p99)],
      ...[number(worker.outstanding), number(figures.rescued), number(figures.given)],
      ...[number(figures.received), percent(figures.waits)],
      ...[worker.heap === null ? '–' : megabytes(worker.heap.usedBytes), `${worker.restarts}`],
    ];
    row.append(...rest.map((text) => element('td', text)));
    return row;
  });
  at('rows').replaceChildren(...rows);
}

/** Draws the machine anew when its workers are others than before. */
async function drawPlan(status) {
  const key = JSON.stringify([status.pid, status.workers.map(({ index, cpu }) => [index, cpu])]);
  if (key === drawnFor) return;
  drawnFor = key;
  try {
    const text = await (await ask('floor-plan')).text();
    const { documentElement: svg } = new DOMParser().parseFromString(text, 'image/svg+xml');
    const { width, height } = svg.viewBox.baseVal;
    const scale = Math.min(1.7, 900 / width);
    svg.setAttribute('width', width * scale);
    svg.setAttribute('height', height * scale);
    at('plan').replaceChildren(document.importNode(svg, true));
  } catch {
    at('plan').replaceChildren(element('p', 'The machine is not known here.', 'hint'));
  }
  addHomeless(status.workers.filter(({ cpu }) => cpu === null));
}

function made(tag, attributes, text = '') {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

/** Workers without a CPU of their own are below the machine. */
function addHomeless(workers) {
  const svg = at('plan').querySelector('svg');
  if (svg === null || workers.length === 0) return;
  const { width, height } = svg.viewBox.baseVal;
  const [boxWidth, boxHeight, gap, across] = [58, 30, 14, 8];
  const columns = Math.max(across, Math.floor((width - 32) / (boxWidth + gap)));
  // There is room for arrows between the machine and them.
  const top = height + 2 * gap;
  workers.forEach(({ index, spare }, i) => {
    const x = 16 + (i % columns) * (boxWidth + gap);
    const y = top + Math.floor(i / columns) * (boxHeight + gap);
    const size = { width: boxWidth, height: boxHeight, rx: 3 };
    svg.append(made('rect', { x, y, ...size, class: 'cpu', 'data-worker': index }));
    const place = { x: x + boxWidth / 2, 'text-anchor': 'middle' };
    svg.append(made('text', { ...place, y: y + 13, 'font-size': 10 }, spare ? 'spare' : 'worker'));
    svg.append(made('text', { ...place, y: y + 25, 'font-size': 9, 'data-worker': index }));
  });
  const scale = Number(svg.getAttribute('height')) / height;
  const tall = top + Math.ceil(workers.length / columns) * (boxHeight + gap);
  const wide = Math.max(width, 32 + Math.min(columns, workers.length) * (boxWidth + gap));
  svg.setAttribute('viewBox', `0 0 ${wide} ${tall}`);
  svg.setAttribute('width', wide * scale);
  svg.setAttribute('height', tall * scale);
}

/** What a worker is drawn as: on its CPU, or below. */
function boxOf(worker, tag) {
  const key = worker.cpu === null ? `data-worker="${worker.index}"` : `data-cpu="${worker.cpu}"`;
  return at('plan').querySelector(`${tag}[${key}]`);
}

async function showPlan(status, before, all) {
  await drawPlan(status);
  const svg = at('plan').querySelector('svg');
  if (svg === null) return;
  const loads = new Map();
  for (const { worker, figures } of all) {
    const box = boxOf(worker, 'rect');
    if (box === null) continue;
    loads.set(box, Math.max(loads.get(box) ?? 0, figures.load ?? 0));
    box.style.setProperty('--load', `${Math.round((loads.get(box) ?? 0) * 85)}%`);
    box.classList.toggle('stuck', worker.stuckSeconds >= STUCK_SECONDS);
    const label = boxOf(worker, 'text');
    if (label !== null) label.textContent = `w${worker.index} ${percent(figures.load)}`;
  }
  const arrows = arrowsOf(status, before);
  for (const old of svg.querySelectorAll('.move')) old.remove();
  const most = arrows.map(({ count }) => count).sort((a, b) => b - a)[COUNTS_MAX] ?? 0;
  svg.append(...arrows.flatMap((arrow) => drawArrow(arrow, arrow.count > most)));
  const told = all.map(({ worker, figures }) => `${nameOf(worker)} ${percent(figures.load)}`);
  const went = arrows.map(({ from, to, count, how }) => `${count} ${how} from ${from} to ${to}`);
  const label = `Floor plan of the machine. Load: ${told.join(', ')}. Moves: ${went.join(', ') || 'none'}.`;
  at('plan').setAttribute('aria-label', label);
}

/** What went from which worker to which other since `before`. */
function arrowsOf(status, before) {
  const workers = byIndex(status);
  const earlier = new Map(before.moves.map((move) => [`${move.from} ${move.to}`, move]));
  return status.moves.flatMap((move) => {
    const [from, to] = [workers.get(move.from), workers.get(move.to)];
    if (from === undefined || to === undefined) return [];
    const last = earlier.get(`${move.from} ${move.to}`);
    return ['given', 'rescued'].flatMap((how) => {
      const count = move[how] - (last?.[how] ?? 0);
      if (count <= 0) return [];
      const ends = { start: boxOf(from, 'rect'), end: boxOf(to, 'rect') };
      return [{ from: nameOf(from), to: nameOf(to), count, how, ...ends }];
    });
  });
}

/**
 * A bow from one box to the other, which leaves what is written in them alone. Between boxes side by side: over them
 * for what was rescued, under them for what was given; the way back is the wider one. Else between the
 * edges that face each other, rescued on the left and given on the right.
 */
function drawArrow({ start, end, count, how }, counted) {
  if (start === null || end === null || start === end) return [];
  const rescued = how === 'rescued';
  const [from, to] = [start.getBBox(), end.getBBox()];
  const apart = from.y + from.height < to.y || to.y + to.height < from.y;
  const pointOn = (box, bottom, share) => [
    box.x + box.width * share,
    bottom ? box.y + box.height + 1 : box.y - 1,
  ];
  const down = from.y < to.y;
  const share = rescued ? 0.3 : 0.7;
  const [x1, y1] = apart ? pointOn(from, down, share) : pointOn(from, !rescued, 0.5);
  const [x2, y2] = apart ? pointOn(to, !down, share) : pointOn(to, !rescued, 0.5);
  const bow = apart ? 0 : (rescued ? -1 : 1) * (x2 >= x1 ? 12 : 26);
  // Lines that cross would have their counts in one place.
  const sideways = apart ? (down ? -6 : 6) : 0;
  const [cx, cy] = [(x1 + x2) / 2 + sideways, (y1 + y2) / 2 + bow];
  const angle = (Math.atan2(y2 - cy, x2 - cx) * 180) / Math.PI;
  const group = made('g', { class: `move ${how}` });
  const width = Math.min(4, 1 + Math.log2(1 + count) / 3);
  const along = apart ? 0.3 : 0.5;
  const label = {
    x: apart ? x1 + (x2 - x1) * along + sideways / 2 : cx,
    y: apart ? y1 + (y2 - y1) * along + 3 : cy - bow / 2 + 3,
    'text-anchor': 'middle',
  };
  group.append(
    made('path', {
      ...{ class: 'arrow', 'stroke-width': width },
      d: `M${x1} ${y1}Q${cx} ${cy} ${x2} ${y2}`,
    }),
    made('path', {
      ...{ class: 'head', d: 'M1 0L-7 4L-7 -4Z' },
      transform: `translate(${x2} ${y2}) rotate(${angle})`,
    }),
  );
  if (counted) group.append(made('text', { class: 'count', ...label }, `${count}`));
  return [group];
}

function showLatency(status) {
  const oldest = byIndex(seen[0]);
  const histograms = status.workers.map((worker) =>
    difference(worker.requestTimes, oldest.get(worker.index)?.requestTimes),
  );
  const counts = sumOf(histograms);
  const first = counts.findIndex((count) => count > 0);
  const box = at('latency');
  if (first < 0) {
    box.setAttribute('aria-label', 'No requests were timed');
    box.replaceChildren(
      element('p', 'None were timed: admin.requestTimes, --request-times.', 'hint'),
    );
    return;
  }
  const last = counts.findLastIndex((count) => count > 0);
  const [from, to] = [Math.max(0, first - 1), Math.min(counts.length - 1, last + 1)];
  const { bounds } = histograms[0];
  const most = Math.max(...counts);
  const [width, height, foot] = [64, 120, 18];
  const shown = counts.slice(from, to + 1);
  const svg = made('svg', { viewBox: `0 0 ${shown.length * width + 20} ${height + foot + 14}` });
  shown.forEach((count, i) => {
    const tall = count === 0 ? 0 : Math.max(2, (count / most) * height);
    const x = i * width;
    const bar = made('rect', { x: x + 2, y: 14 + height - tall, width: width - 4, height: tall });
    const bound = bounds[from + i];
    const upTo = bound === undefined ? 'more' : `< ${duration(bound)}`;
    bar.append(made('title', {}, `${count} requests ${upTo}`));
    const middle = { x: x + width / 2, 'text-anchor': 'middle' };
    svg.append(bar);
    if (shown.length <= BOUNDS_MAX || i % 2 === 0) {
      svg.append(made('text', { ...middle, y: height + foot + 10 }, upTo));
    }
    if (count > 0) svg.append(made('text', { ...middle, y: 10 + height - tall }, number(count)));
  });
  const [p50, p99] = [quantile(histograms, 0.5), quantile(histograms, 0.99)].map(duration);
  box.setAttribute(
    'aria-label',
    `Half of the requests took less than ${p50}, 99% less than ${p99}`,
  );
  box.replaceChildren(svg);
}

function showBlamed(blamed) {
  at('unblamed').hidden = blamed.length > 0;
  at('blamed').hidden = blamed.length === 0;
  const rows = blamed.slice(0, BLAMED_MAX).map(({ where, count }) => {
    const row = element('tr');
    row.append(element('td', where), element('td', number(count)));
    return row;
  });
  at('blamed').tBodies[0].replaceChildren(...rows);
}

function note(text, alarm = false) {
  const line = element('li');
  const now = new Date();
  const time = element('time', now.toLocaleTimeString());
  time.dateTime = now.toISOString();
  line.append(time, element('span', text, alarm ? 'alarm' : ''));
  at('log').prepend(line);
  while (at('log').childElementCount > LOG_MAX) at('log').lastElementChild.remove();
}

/** What an event is in words; [text, whether it is a bad thing]. */
const WORDS = {
  worker: ({ worker }) => [`${nameOf(worker)} starts`],
  exit: ({ worker, reason, code, error }) => [
    `${nameOf(worker)} ended: ${error?.message ?? reason}${code === 0 ? '' : `, code ${code}`}`,
    reason === 'died',
  ],
  hang: ({ worker, stuckMs, stack }) => [
    `${nameOf(worker)} hangs since ${duration(stuckMs / 1e3)} in ${stack?.[0] ?? 'what cannot be seen'}`,
    true,
  ],
  stall: ({ worker, stack }) => [`${nameOf(worker)} stood still in ${stack[0]}`, true],
  recycle: ({ worker }) => [`${nameOf(worker)} is replaced: its heap is nearly full`, true],
  widen: ({ worker, cpus }) => [
    `${nameOf(worker)} gives way: it may run on CPUs ${cpus.join(', ')}`,
  ],
  narrow: ({ worker, cpus }) => [`${nameOf(worker)} is back on ${cpus.join(', ')}`],
  reload: () => ['every worker was replaced'],
  close: () => ['the runtime has closed', true],
};

/** Reads server-sent events; unlike an EventSource it can send a token. */
async function listen() {
  const response = await ask('events');
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      const words = WORDS[event]?.(JSON.parse(data));
      if (words !== undefined) note(...words);
    }
  }
}

const rest = () => new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));

async function follow() {
  for (;;) {
    await rest();
    try {
      await listen();
    } catch {
      // Who asks for the snapshot says what is wrong.
    }
  }
}

async function poll() {
  for (;;) {
    if (!paused && !document.hidden) {
      try {
        const status = await (await ask('snapshot')).json();
        at('ask').hidden = true;
        // Another process has the address now.
        if (seen.length > 0 && seen[0].pid !== status.pid) seen = [];
        const before = seen.at(-1);
        seen = [...seen.slice(-WINDOW), status];
        if (before !== undefined) show(status, before);
      } catch (error) {
        seen = [];
        say(`No answer: ${error.message}`, true);
      }
    }
    await rest();
  }
}

at('pause').addEventListener('click', () => {
  paused = !paused;
  at('pause').setAttribute('aria-pressed', `${paused}`);
});
at('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  token = at('token').value;
  sessionStorage.setItem('gyre-token', token);
});

poll();
follow();
