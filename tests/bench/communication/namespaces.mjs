/** Machines in network namespaces on one switch, each with a link of its own: Linux, as root, with ip and tc. */
import { spawnSync } from 'node:child_process';
import { BenchError } from '../bench-error.mjs';

const SWITCH = 'troupe-bench';
const SUBNET = '10.213.77';

/** @param {string} command */
function run(command) {
  const [program, ...args] = command.split(' ');
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new BenchError('run_failed', `${command}: ${error?.message ?? stderr}`, 'It needs root, ip and tc.');
}

/** @returns {string | undefined} */
export function whyNoNamespaces() {
  try {
    run(`ip netns add ${SWITCH}-probe`);
    run(`ip netns del ${SWITCH}-probe`);
    run('tc -V');
    return undefined;
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

/** Whether the kernel can delay packets; not all can, and all can limit their rate. */
export function hasLatency() {
  const link = 'troupe-try';
  try {
    run(`ip link add ${link} type veth peer name ${link}b`);
    return spawnSync('tc', `qdisc add dev ${link} root netem delay 1ms`.split(' ')).status === 0;
  } finally {
    spawnSync('ip', ['link', 'del', link]);
  }
}

/** @typedef {{ up: number, down: number }} Lines what a machine sends and receives, Mbit/s */

/** Half of the latency at each end. The queue holds what a second carries: no packet is lost. @param {number} megabits @param {number} oneWayMs */
function shapeOf(megabits, oneWayMs) {
  return hasLatency()
    ? `netem rate ${megabits}mbit delay ${oneWayMs / 2}ms limit ${Math.ceil((megabits * 1e6) / 8 / 1500)}`
    : `tbf rate ${megabits}mbit burst 64kb latency 1000ms`;
}

/**
 * @template T
 * @param {{ machines: number, lines: (machine: number) => Lines | undefined, oneWayMs: number }} options the lines of each machine, undefined
 * if nothing limits it; and the latency from one machine to another
 * @param {(network: import('./null-run.mjs').Network) => Promise<T>} act
 * @returns {Promise<T>}
 * @throws {BenchError} `run_failed`
 */
export async function withMachines({ machines, lines, oneWayMs }, act) {
  const name = (/** @type {number} */ k) => `${SWITCH}-${k}`;
  const host = (/** @type {number} */ k) => `${SUBNET}.${k + 1}`;
  try {
    run(`ip link add ${SWITCH} type bridge`);
    run(`ip link set ${SWITCH} up`);
    for (let k = 0; k < machines; k++) {
      run(`ip netns add ${name(k)}`);
      run(`ip link add tb${k} type veth peer name eth0 netns ${name(k)}`);
      run(`ip link set tb${k} master ${SWITCH}`);
      run(`ip link set tb${k} up`);
      run(`ip -n ${name(k)} addr add ${host(k)}/24 dev eth0`);
      run(`ip -n ${name(k)} link set eth0 up`);
      run(`ip -n ${name(k)} link set lo up`);
      const line = lines(k);
      if (line === undefined) continue;
      run(`tc qdisc add dev tb${k} root ${shapeOf(line.down, oneWayMs)}`);
      run(`ip netns exec ${name(k)} tc qdisc add dev eth0 root ${shapeOf(line.up, oneWayMs)}`);
    }
    return await act({ command: (k) => ['ip', 'netns', 'exec', name(k)], host });
  } finally {
    for (let k = 0; k < machines; k++) spawnSync('ip', ['netns', 'del', name(k)]);
    spawnSync('ip', ['link', 'del', SWITCH]);
  }
}
