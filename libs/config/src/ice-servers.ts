/** The STUN and TURN servers of a run, by which workers find paths to each other over WebRTC. */
import type { AppOption, OptionProblem } from './app-options.js';
import { LIMITS } from './limits.js';

export const ICE_SERVERS_OPTION = {
  flag: '--ice-servers',
  type: 'text',
  placeholder: 'URLS',
  group: 'Network',
  help: 'STUN and TURN servers for workers that exchange gradients over WebRTC, such as stun:HOST:3478,turn:HOST:3478. Without them, workers reach each other within one network. The secret of the TURN servers (coturn: static-auth-secret) is TROUPE_TURN_SECRET; each worker gets a password that is good for minutes',
} as const satisfies AppOption;

/** For all workers of a run. */
export interface IceAccess {
  readonly stun: readonly string[];
  readonly turn: readonly string[];
  /** Of the TURN servers; present when there are any. */
  readonly turnSecret: string | undefined;
}

/** A name, an IPv4 address or an IPv6 address in brackets, and a port. */
const PLACE = String.raw`(?:[^\s:/?[\]]+|\[[\da-fA-F:.]+\])(?::(?<port>\d{1,5}))?`;
const STUN = new RegExp(`^stuns?:${PLACE}$`);
const TURN = new RegExp(`^turns?:${PLACE}(?:\\?transport=(?:udp|tcp))?$`);

function isServer(form: RegExp, url: string): boolean {
  const found = form.exec(url);
  return found !== null && Number(found.groups?.port ?? 1) <= 65_535;
}

/** @param text the value of --ice-servers */
export function readIceServers(
  text: string | undefined,
  turnSecret: string | undefined,
): { readonly ok: true; readonly ice: IceAccess | undefined } | OptionProblem {
  if (text === undefined) return { ok: true, ice: undefined };
  const urls = text.split(',').map((url) => url.trim());
  const wrong = urls.find((url) => !isServer(STUN, url) && !isServer(TURN, url));
  if (wrong !== undefined) {
    return problem(
      `--ice-servers: ${wrong === '' ? 'one address is empty' : `${wrong} is not the address of a STUN or TURN server`}.`,
      'Write each as stun:HOST:PORT or turn:HOST:PORT, and turn:HOST:PORT?transport=tcp for TCP, separated by commas.',
    );
  }
  const [stun, turn] = [urls.filter((url) => STUN.test(url)), urls.filter((url) => TURN.test(url))];
  if (Math.max(stun.length, turn.length) > LIMITS.iceUrls)
    return problem(`--ice-servers names ${urls.length} servers.`, `Name at most ${LIMITS.iceUrls} of each kind.`);
  if (turn.length > 0 && !turnSecret) {
    return problem(
      '--ice-servers names a TURN server, and its secret is missing.',
      'Set TROUPE_TURN_SECRET to the static-auth-secret in the settings of the TURN server.',
    );
  }
  return { ok: true, ice: { stun, turn, turnSecret: turnSecret || undefined } };
}

function problem(message: string, remedy: string): OptionProblem {
  return { ok: false, message, remedy };
}
