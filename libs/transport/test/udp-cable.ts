/** A UDP path between two peers that can be cut without either of them noticing. */
import { createSocket, type Socket } from 'node:dgram';
import type { Signal } from '../src/webrtc/index.js';

type Side = 'near' | 'far';
const OTHER = { near: 'far', far: 'near' } as const;

export interface UdpCable {
  /** What the other side gets to see of a signal: of the sender's candidates only one, which leads through the cable. */
  route(signal: Signal, from: Side): Signal | undefined;
  /** Drops every packet from here on. */
  cut(): void;
  /** The next candidates get a path that is whole. */
  mend(): Promise<void>;
  close(): void;
}

interface Path {
  /** Sockets in place of each side: what is sent to `near` comes out of `far` and goes to the real near side. */
  readonly sockets: Readonly<Record<Side, Socket>>;
  /** Where each side really is. */
  readonly real: Partial<Record<Side, { readonly address: string; readonly port: number }>>;
  cut: boolean;
}

async function bind(): Promise<Socket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return socket;
}

async function createPath(): Promise<Path> {
  const path: Path = { sockets: { near: await bind(), far: await bind() }, real: {}, cut: false };
  for (const to of ['near', 'far'] as const) {
    path.sockets[to].on('message', (packet, { address, port }) => {
      const from = OTHER[to];
      path.real[from] = { address, port };
      const target = path.real[to];
      if (path.cut || !target) return;
      path.sockets[from].send(packet, target.port, target.address, () => {});
    });
  }
  return path;
}

const isUdp4 = (candidate: string): boolean => /^candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+|\S+\.local) /i.test(candidate);

export async function createUdpCable(): Promise<UdpCable> {
  const paths = [await createPath()];
  const reroute = (candidate: string, from: Side): string | undefined => {
    const path = paths[paths.length - 1];
    const words = candidate.split(' ');
    if (!isUdp4(candidate) || path.real[from] || words[7] !== 'host') return undefined;
    const address = words[4].endsWith('.local') ? '127.0.0.1' : words[4];
    path.real[from] = { address, port: Number(words[5]) };
    const there = path.sockets[from].address();
    return [...words.slice(0, 4), there.address, there.port, ...words.slice(6)].join(' ');
  };
  return {
    route(signal, from) {
      if (signal.type === 'restart') return signal;
      if (signal.type === 'candidate') {
        const candidate = reroute(signal.candidate, from);
        return candidate === undefined ? undefined : { ...signal, candidate };
      }
      const lines = signal.sdp.split('\r\n').filter((line) => !/^a=(candidate|end-of-candidates)/.test(line));
      return { ...signal, sdp: lines.join('\r\n') };
    },
    cut() {
      for (const path of paths) path.cut = true;
    },
    async mend() {
      paths.push(await createPath());
    },
    close() {
      for (const { sockets } of paths) for (const socket of Object.values(sockets)) socket.close();
    },
  };
}
