/**
 * The DNS records by which a coordinator is found on a network (RFC 6763), and what a worker takes from those of others. Pure. Anybody on the
 * network may send records, so nothing of them is used that has not been checked.
 */
import { isIP } from 'node:net';

/** Names of services and hosts of multicast DNS end with .local (RFC 6762). */
export const SERVICE = '_troupe._tcp.local';
/** The list of all kinds of services, which tools for people show. */
const KINDS = '_services._dns-sd._udp.local';

/** What is taken from others, and what is told to them. */
export const DISCOVERY_LIMITS = {
  /** UTF-8 bytes of a text, of the 255 that a string of a TXT record can have. */
  textBytes: 200,
  /** Records that are looked at in a packet. */
  records: 100,
  /** Runs that are kept. */
  runs: 50,
} as const;

/** Seconds for which others may remember: RFC 6762, section 10. */
const TTL_S = 120;
const VERSION = '1';

/** What a coordinator tells about its run. No token is among it. */
export interface RunAdvert {
  /** The id of the run. It makes all names unique, so no two coordinators claim the same one. */
  readonly id: string;
  readonly name: string;
  readonly organizer: string | undefined;
  readonly port: number;
  /** The path of the run on its server: "" at the root, or "/troupe/control". */
  readonly path: string;
  /** The whole address, if workers must use a name: that of a certificate or of a proxy. */
  readonly address: string | undefined;
}

/** A run as a worker has found it. All texts are short and have no control characters. */
export interface FoundRun {
  readonly id: string;
  readonly name: string;
  readonly organizer: string | undefined;
  /** "ws://10.0.0.5:7070". */
  readonly address: string;
}

export interface DnsQuestion {
  readonly name: string;
  readonly type: string;
}

/** Of a record, the fields that matter here. */
export interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number | undefined;
  readonly flush?: boolean | undefined;
  readonly data?: unknown;
}

export interface DnsAnswer {
  readonly answers: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

/** The label of a run in names: letters, digits and dashes. */
function labelOf({ id }: RunAdvert): string {
  return `troupe-${id.replace(/[^A-Za-z0-9-]/g, '-').slice(0, 50)}`;
}

/** @param ips addresses of this machine on the network that is told @param ttl in seconds; 0 = the run is over */
export function recordsOf(advert: RunAdvert, ips: readonly string[], ttl: number = TTL_S): DnsAnswer {
  const instance = `${labelOf(advert)}.${SERVICE}`;
  const host = `${labelOf(advert)}.local`;
  const own = { ttl, flush: true };
  return {
    answers: [{ name: SERVICE, type: 'PTR', ttl, data: instance }],
    additionals: [
      { name: instance, type: 'SRV', ...own, data: { port: advert.port, target: host, priority: 0, weight: 0 } },
      { name: instance, type: 'TXT', ...own, data: textsOf(advert) },
      ...ips.map((ip) => ({ name: host, type: isIP(ip) === 6 ? 'AAAA' : 'A', ...own, data: ip })),
    ],
  };
}

function textsOf({ id, name, organizer, path, address }: RunAdvert): string[] {
  const entries = { txtvers: VERSION, run: id, name, by: organizer, path, at: address };
  return Object.entries(entries).flatMap(([key, value]) => (value ? [`${key}=${cut(value)}`] : []));
}

/** The longest start of a text that fits. */
function cut(text: string): string {
  let [bytes, kept] = [0, ''];
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > DISCOVERY_LIMITS.textBytes) break;
    kept += character;
  }
  return kept;
}

/** Names of DNS do not tell capitals from small letters. */
const same = (one: string, other: string): boolean => one.toLowerCase() === other.toLowerCase();

/**
 * What a coordinator answers to a query; undefined if it is not asked, or if who asks knows it already.
 * @param known the answers in the query
 */
export function answerTo(
  questions: readonly DnsQuestion[],
  known: readonly DnsRecord[],
  advert: RunAdvert,
  ips: readonly string[],
): DnsAnswer | undefined {
  const all = recordsOf(advert, ips);
  const [pointer] = all.answers;
  const asks = (record: DnsRecord): boolean =>
    questions.some(({ name, type }) => same(name, record.name) && (type === 'ANY' || type === record.type));
  const kinds = { name: KINDS, type: 'PTR', ttl: TTL_S, data: SERVICE };
  if (asks(pointer)) return knows(known, pointer) ? undefined : all;
  const answers = [...all.additionals, kinds].filter(asks);
  return answers.length === 0 ? undefined : { answers, additionals: [] };
}

function knows(known: readonly DnsRecord[], { name, data }: DnsRecord): boolean {
  return known.some((each) => same(each.name, name) && each.type === 'PTR' && each.data === data && (each.ttl ?? 0) >= TTL_S / 2);
}

/** The runs in a packet. @param sender the address that it came from */
export function runsIn(records: readonly DnsRecord[], sender: string): FoundRun[] {
  const some = records.slice(0, DISCOVERY_LIMITS.records).filter(({ ttl = 0 }) => ttl > 0);
  const instances = some.flatMap(({ name, type, data }) =>
    type === 'PTR' && same(name, SERVICE) && typeof data === 'string' && same(data.slice(-SERVICE.length), SERVICE) ? [data] : [],
  );
  return [...new Set(instances)].flatMap((instance) => runOf(instance, some, sender) ?? []);
}

function runOf(instance: string, records: readonly DnsRecord[], sender: string): FoundRun | undefined {
  const find = (type: string): unknown => records.find((each) => each.type === type && same(each.name, instance))?.data;
  const service = placeIn(find('SRV'));
  const texts = textsIn(find('TXT'));
  const [id, name] = [texts.get('run'), texts.get('name')];
  if (service === undefined || texts.get('txtvers') !== VERSION || !id || !name) return undefined;
  const address = texts.get('at') ?? addressIn(service, records, texts.get('path') ?? '', sender);
  return address === undefined || !isControlAddress(address) ? undefined : { id, name, organizer: texts.get('by'), address };
}

interface Service {
  readonly port: number;
  readonly target: string;
}

function placeIn(data: unknown): Service | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const { port, target } = data as Partial<Record<keyof Service, unknown>>;
  const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536;
  return isPort && typeof target === 'string' ? { port, target } : undefined;
}

/** The strings of a TXT record: key -> value, of those that are readable. */
function textsIn(data: unknown): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const item of (Array.isArray(data) ? data : []) as readonly unknown[]) {
    const text = readable(item);
    const at = text?.indexOf('=') ?? -1;
    if (text === undefined || at < 1 || Buffer.byteLength(text.slice(at + 1)) > DISCOVERY_LIMITS.textBytes) continue;
    const key = text.slice(0, at).toLowerCase();
    // Of a key that comes twice the first counts (RFC 6763, section 6.4).
    if (!texts.has(key)) texts.set(key, text.slice(at + 1));
  }
  return texts;
}

function readable(item: unknown): string | undefined {
  if (!(item instanceof Uint8Array)) return undefined;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(item);
    // No control characters, and none that change the direction of a text or cannot be seen.
    return /[\p{C}\u2028\u2029]/u.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

/** The sender's own address, if it is among those that it tells; else the first that leads anywhere. */
function addressIn({ port, target }: Service, records: readonly DnsRecord[], path: string, sender: string): string | undefined {
  const ips = records.flatMap(({ name, type, data }) =>
    same(name, target) && typeof data === 'string' && isIP(data) === { A: 4, AAAA: 6 }[type] ? [data] : [],
  );
  // A link-local address means nothing without the interface, which no URL can name.
  const usable = ips.filter((ip) => !/^fe80:/i.test(ip)).sort((a, b) => isIP(a) - isIP(b));
  const ip = usable.find((each) => each === sender) ?? usable[0];
  if (ip === undefined) return undefined;
  return `ws://${isIP(ip) === 6 ? `[${ip}]` : ip}:${port}${path}`;
}

function isControlAddress(text: string): boolean {
  if (!/^wss?:\/\/[\w.:[\]-]+(?:\/[\w.~/-]*)?$/.test(text) || !URL.canParse(text)) return false;
  const { username, hostname } = new URL(text);
  return username === '' && hostname !== '';
}
