/** The ports on which the workers of a host listen, so that they can sum for each other. */

const MOST_PORT = 65_535;

/** What is wrong with a line of a hosts file, and what helps: two full sentences. */
export interface HostsProblem {
  readonly message: string;
  readonly remedy: string;
}

/** What a line of a hosts file says about listening. */
export interface ListenSettings {
  /** "7080" or "10.0.0.5:7080": the place of the first worker of the line. */
  readonly listen: string | undefined;
  /** Files on the host: the certificate for these links, and its key. */
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
}

/** Where one worker listens: the values of its flags. */
export interface SlotListen {
  readonly at: string;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

/** The place of the `index`-th worker of a line, counted from 0: its workers have consecutive ports. Port 0 is any free one for each. */
export function listenOf({ listen, tlsCert, tlsKey }: ListenSettings, index: number): SlotListen | undefined {
  if (listen === undefined) return undefined;
  const { host, port } = placeOf(listen);
  const tls = tlsCert === undefined || tlsKey === undefined ? undefined : { cert: tlsCert, key: tlsKey };
  return { at: `${host}${port === 0 ? 0 : port + index}`, tls };
}

/** The part up to the port, with its colon, and the port. */
function placeOf(listen: string): { readonly host: string; readonly port: number } {
  const [, host = '', port] = /^(.+:)?(\d+)$/.exec(listen)!;
  return { host, port: Number(port) };
}

/** What is wrong with these settings by themselves. */
export function listenProblem({ listen, tlsCert, tlsKey }: ListenSettings, slots: number): HostsProblem | undefined {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    return { message: 'tls-cert and tls-key belong together.', remedy: 'Give both, or neither.' };
  if (listen === undefined) {
    if (tlsCert === undefined) return undefined;
    return {
      message: 'tls-cert is for workers that listen.',
      remedy: 'Give listen=PORT as well, or leave tls-cert and tls-key out.',
    };
  }
  const { host, port } = placeOf(listen);
  const last = port + slots - 1;
  if (port === 0 || last <= MOST_PORT) return undefined;
  const message =
    slots === 1
      ? `listen=${listen} names a port above ${MOST_PORT}.`
      : `${slots} workers from port ${port} on would need port ${last}.`;
  return { message, remedy: `Give a port up to ${MOST_PORT - slots + 1}: listen=${host}7080.` };
}

/** Ports that lines of a hosts file have taken: label of the host -> port -> the line. */
export type TakenPorts = Map<string, Map<number, string>>;

/** Takes the ports of a line. @returns the problem if an earlier line of the same host has one of them */
export function takePorts(
  label: string,
  { listen }: ListenSettings,
  slots: number,
  where: string,
  taken: TakenPorts,
): HostsProblem | undefined {
  if (listen === undefined) return undefined;
  const { host, port } = placeOf(listen);
  if (port === 0) return undefined;
  const ports = taken.get(label) ?? new Map<number, string>();
  taken.set(label, ports);
  const wanted = Array.from({ length: slots }, (_, i) => port + i);
  const clash = wanted.find((each) => ports.has(each));
  if (clash === undefined) {
    for (const each of wanted) ports.set(each, where);
    return undefined;
  }
  const free = Math.max(...ports.keys()) + 1;
  return {
    message: `port ${clash} of ${label} is taken already by ${ports.get(clash)!}; the workers of a line have consecutive ports.`,
    remedy: `Give another port: listen=${host}${free}.`,
  };
}
