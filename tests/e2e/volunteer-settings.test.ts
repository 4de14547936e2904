/**
 * The volunteer page obeys the volunteer's settings: in a real browser, with a real coordinator.
 */
import { once } from 'node:events';
import net from 'node:net';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { choose, setStage, startHelping, TOKEN, type Run } from './stage.js';
import { at, childrenOf, signal, steer, type Line } from './troupe.js';

const SOON = { timeout: 30_000 };
/** A name of this machine other than `localhost`: over plain HTTP it is not a secure context. */
const NAME = 'lab.example';
const stage = setStage('volunteer', [`--host-resolver-rules=MAP ${NAME} 127.0.0.1`]);
const { coordinate, work } = stage;

/** Opens the page of a run. @param prelude runs before the scripts of the page */
async function join({ origin }: Pick<Run, 'origin'>, { more = '', prelude = '' } = {}): Promise<Tab> {
  const tab = await stage.visit('about:blank');
  await tab.command('Page.addScriptToEvaluateOnNewDocument', { source: prelude });
  await tab.open(`${origin}/join/#token=${TOKEN}${more}`);
  return tab;
}

/** Does not check why a worker left: a busy trainer is terminated before it can say. */
const changed =
  (change: string, word = '') =>
  (line: Line) =>
    line.event === 'worker' && line.change === change && JSON.stringify(line).includes(word);
const count = ({ running }: Run, test: (line: Line) => boolean): number => running.lines.filter(test).length;
const rounds = (run: Run): number => count(run, at(0));
const says = (start: string): string => `document.querySelector('#state').textContent.startsWith(${JSON.stringify(start)})`;

/** It computes, or would if the other worker of the run were not faster alone. */
const takesPart = `${says('Computing')} || ${says('On standby')}`;

/** Waits until the run has advanced by `further` rounds. */
const goesOn = async (run: Run, further = 20): Promise<void> => {
  const before = rounds(run);
  await expect.poll(() => rounds(run), SOON).toBeGreaterThan(before + further);
};

describe.skipIf(stage.missing !== undefined)('the volunteer page', () => {
  it('pauses while its tab is hidden if this is set, and others continue at once', async () => {
    const run = await coordinate('hidden');
    work(run, 'stays');
    await run.running.line(changed('ready', 'stays'));
    const tab = await join(run);
    const cover = async (): Promise<void> => {
      await tab.evaluate('(window.other = open("about:blank")) && 1');
      await tab.until(`document.visibilityState === 'hidden'`);
    };
    const uncover = async (): Promise<void> => {
      await tab.evaluate('other.close()');
      await tab.until(`document.visibilityState === 'visible'`);
    };
    await startHelping(tab);
    await run.running.line(changed('ready', 'volunteer'));
    await tab.until(takesPart);

    await cover();
    await goesOn(run);
    expect(count(run, changed('left'))).toBe(0);
    await uncover();

    await tab.click('#pause-when-hidden');
    await cover();
    await run.running.line(changed('left', 'volunteer'));
    const before = count(run, changed('ready', 'volunteer'));
    await goesOn(run);
    expect(count(run, changed('ready', 'volunteer'))).toBe(before);
    await uncover();
    await tab.until(takesPart);
    expect(count(run, changed('ready', 'volunteer'))).toBeGreaterThan(before);
  });

  it('pauses on battery and resumes with the charger, unless battery is allowed', async () => {
    const run = await coordinate('battery');
    const prelude = `
      window.battery = Object.assign(new EventTarget(), { charging: true });
      window.plug = (charging) => { battery.charging = charging; battery.dispatchEvent(new Event('chargingchange')); };
      navigator.getBattery = () => Promise.resolve(battery);`;
    const tab = await join(run, { prelude });
    await startHelping(tab);
    await tab.until(says('Computing'));
    await tab.evaluate('plug(false)');
    await run.running.line(changed('left'));
    await tab.until(says('Paused on battery power'));
    await tab.evaluate('plug(true)');
    await tab.until(says('Computing'));
    await tab.evaluate('plug(false)');
    await tab.until(says('Paused on battery power'));
    await tab.click('#pause-on-battery');
    await tab.until(says('Computing'));
  });

  it.each([
    ['a small model', ['--hidden', '64', '--batch', '8', '--window', '32']],
    ['a larger model, whose gradients travel in int8', ['--hidden', '256', '--batch', '16', '--window', '32', '--codec', 'int8']],
  ])('estimates the traffic of a round to within a tenth of what it is, and that of an hour, for %s', async (_, flags) => {
    const run = await coordinate(`estimate-${flags[1]}`, ...flags, '--eval-every', '0');
    const meter = stage.closeAfterTest(await createMeter(Number(run.port)));
    const tab = await join(meter);
    await choose(tab, '#cap', '0');
    await startHelping(tab);
    await tab.until(says('Computing'));
    await tab.until(`/at the rate of this run so far$/.test(document.querySelector('#hour').textContent)`);
    const before = { bytes: meter.sentBytes + meter.receivedBytes, rounds: rounds(run) };
    await goesOn(run, 40);
    const perRound = (meter.sentBytes + meter.receivedBytes - before.bytes) / (rounds(run) - before.rounds);
    const text = await tab.text('#what-traffic');
    const [sent, received] = /each round it sends about (.*) and receives about ([^.]*(?:\.\d[^.]*)?)\./
      .exec(text)!
      .slice(1)
      .map(bytesIn);
    if (process.env['TROUPE_SHOW']) console.log(flags.join(' '), { perRound, sent, received, text });
    expect(Math.abs((sent + received) / perRound - 1)).toBeLessThan(0.1);
    expect(bytesIn(/^About (.*B) of data an hour/.exec(await tab.text('#hour'))![1])).toBeGreaterThan(sent + received);
  });

  it('finishes its work at the data limit, counts the actual traffic, and goes on when asked', async () => {
    // What is under way when the link closes is counted on one side only, so a round must be a small part of the limit.
    const run = await coordinate('traffic', '--hidden', '256', '--eval-every', '0');
    const meter = stage.closeAfterTest(await createMeter(Number(run.port)));
    const tab = await join(meter);
    await choose(tab, '#cap', '100');
    await startHelping(tab);
    await tab.until(says('Paused: your data limit'), 60_000);
    await run.running.line(changed('left'));
    const [sent, received] = [...(await tab.text('#stat-traffic')).matchAll(/([\d.]+)\sMB/g)].map(([, mb]) => Number(mb));
    expect(sent + received).toBeGreaterThanOrEqual(100);
    expect(sent / (meter.sentBytes / 1e6)).toBeCloseTo(1, 1);
    expect(received / (meter.receivedBytes / 1e6)).toBeCloseTo(1, 1);
    // Nobody had to compute its last lease again.
    expect(count(run, changed('left', 'finishes'))).toBe(1);
    const stood = rounds(run);
    expect(await tab.text('#pause')).toMatch(/^Go on, with another 100\sMB$/);
    await tab.click('#pause');
    await tab.until(says('Computing'));
    await run.running.line(at(stood + 1));
  });

  it('keeps the screen on if this is set, except while it is paused', async () => {
    const run = await coordinate('awake');
    const prelude = `
      window.locks = [];
      const { request } = WakeLock.prototype;
      WakeLock.prototype.request = function (...args) {
        return request.apply(this, args).then((lock) => (locks.push(lock), lock));
      };
      window.held = () => locks.filter((lock) => !lock.released).length;`;
    const tab = await join(run, { prelude });
    await startHelping(tab);
    await tab.until(says('Computing'));
    expect(await tab.evaluate('locks.length')).toBe(0);
    await tab.click('#keep-awake');
    await tab.until('held() === 1');
    await tab.click('#pause');
    await tab.until('held() === 0');
    await tab.click('#pause');
    await tab.until('held() === 1');
    await tab.click('#leave');
    await tab.until('held() === 0');
  });

  it('opens new links after a sleep, and only then', async () => {
    const run = await coordinate('slept');
    const prelude = `window.aheadMs = 0; const now = Date.now; Date.now = () => now() + aheadMs;`;
    const tab = await join(run, { prelude });
    await startHelping(tab);
    await tab.until(says('Computing'));
    // The clock is set back.
    await tab.evaluate('aheadMs = -600000');
    await tab.evaluate(`document.dispatchEvent(new Event('resume'))`);
    await goesOn(run);
    expect(count(run, changed('left'))).toBe(0);
    await tab.evaluate('aheadMs = 600000');
    await run.running.line(changed('left'));
    await expect.poll(() => count(run, changed('ready')), SOON).toBe(2);
    await tab.until(says('Computing'));
  });

  const many = os.availableParallelism() > 8 ? ' SKIPPED: a tenth of more than 8 cores is a core' : '';
  it.skipIf(many !== '')(`uses no more of the machine than its share${many}`, async () => {
    // A batch so large that rounds consist of computing: the share does not limit links and the
    // coordinator.
    const run = await coordinate('share', '--hidden', '128', '--batch', '32', '--window', '64', '--eval-every', '0');
    const tab = await join(run, { more: '&engine=wasm' });
    const roundsIn = async (share: string): Promise<number> => {
      await choose(tab, '#share', share);
      // Leases that began with the old share are done by then.
      await goesOn(run, 2);
      const before = rounds(run);
      await sleep(2_000);
      return rounds(run) - before;
    };
    await startHelping(tab);
    await tab.until(says('Computing'));
    const [all, little, allAgain] = [await roundsIn('100'), await roundsIn('10'), await roundsIn('100')];
    expect(little).toBeGreaterThan(0);
    expect(Math.min(all, allAgain)).toBeGreaterThan(1.5 * little);
  });

  const isLinux = process.platform === 'linux';
  it.skipIf(!isLinux)(`lowers its share while the machine is much slower${isLinux ? '' : ' SKIPPED: needs /proc'}`, async () => {
    const run = await coordinate('heat', '--hidden', '256', '--batch', '16', '--window', '32', '--eval-every', '0');
    const others = await renderers();
    const tab = await join(run, { more: '&engine=wasm' });
    const own = (await renderers()).filter((pid) => !others.includes(pid));
    expect(own).not.toEqual([]);
    await choose(tab, '#share', '100');
    await startHelping(tab);
    await tab.until(says('Computing'));
    // Enough to know how fast it is at its best, even if the machine was busy with something else at first.
    await goesOn(run, 30);
    expect(await tab.text('#notice')).toBe('');
    const hot = new AbortController();
    const slowing = slowDown(own, hot.signal);
    try {
      await tab.until(`/slower.*lowered to 70%/.test(document.querySelector('#notice').textContent)`, 45_000);
    } finally {
      hot.abort();
      await slowing;
    }
    await goesOn(run, 3);
  });
});

describe.skipIf(stage.missing !== undefined)('the volunteer page says', () => {
  it('what the browser withholds from a page without HTTPS, and nothing of that on the loopback address', async () => {
    const run = await coordinate('secure', '--allow-host', NAME);
    for (const [host, expected] of [
      [NAME, true],
      ['127.0.0.1', false],
    ] as const) {
      const tab = await join({ origin: `http://${host}:${run.port}` });
      expect(await tab.evaluate('isSecureContext')).toBe(!expected);
      await startHelping(tab);
      await tab.until(takesPart);
      await tab.evaluate(`document.querySelector('#engine').open = true`);
      expect(await tab.evaluate(`document.querySelector('#insecure').checkVisibility()`)).toBe(expected);
      expect(await tab.text('#insecure')).toMatch(/without HTTPS.*one CPU core/);
      await tab.close();
    }
  });

  it('who organizes the run, and when the run is paused', async () => {
    const admin = 'a-token-of-admins';
    const run = await coordinate('paused', '--organizer', 'Ada, room 214', '--admin-token', admin);
    const tab = await join(run);
    await tab.until(`/organizer of this run is Ada, room 214/.test(document.querySelector('#invite').textContent)`);
    await startHelping(tab);
    await tab.until(says('Computing'));
    await steer(run.origin, admin, 'pause');
    await tab.until(says('The organizer has paused the run'));
    await steer(run.origin, admin, 'resume');
    await tab.until(says('Computing'));
  });
});

interface Meter {
  readonly origin: string;
  /** Sent and received by the page. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  close(): Promise<void>;
}

/** Forwards to a port of this machine and counts the bytes. */
async function createMeter(port: number): Promise<Meter> {
  const sockets = new Set<net.Socket>();
  let [sentBytes, receivedBytes] = [0, 0];
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    near.on('data', (chunk) => (sentBytes += chunk.length)).pipe(far);
    far.on('data', (chunk) => (receivedBytes += chunk.length)).pipe(near);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => (sockets.delete(one), other.destroy()));
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    async close() {
      const closed = once(server.close(), 'close');
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** "1.5 MB". */
function bytesIn(text: string): number {
  const [, amount, unit] = /([\d.]+)\s([kMG]?)B/.exec(text)!;
  return Number(amount) * { '': 1, k: 1e3, M: 1e6, G: 1e9 }[unit as 'k'];
}

/** Renderer processes of this test's Chromium: pages and their workers run in them. */
async function renderers(pid = process.pid): Promise<number[]> {
  const found = (await childrenOf(pid)).map(async (child) => [
    ...(child.command.includes('--type=renderer') ? [child.pid] : []),
    ...(await renderers(child.pid)),
  ]);
  return (await Promise.all(found)).flat();
}

/** Runs these processes at less than a tenth of their speed, so that they are slow even if the machine was busy before and is idle now. */
async function slowDown(pids: readonly number[], until: AbortSignal): Promise<void> {
  while (!until.aborted) {
    for (const pid of pids) signal(pid, 'SIGSTOP');
    await sleep(38);
    for (const pid of pids) signal(pid, 'SIGCONT');
    await sleep(2);
  }
}
