/** Tells a network about a run for as long as it lasts. */
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type mdns from 'multicast-dns';
import { openSocket, placesOf, type Interfaces, type Place } from './network.js';
import { answerTo, recordsOf, type DnsAnswer, type RunAdvert } from './records.js';

/** Between two announcements at the start, because packets get lost, and between two answers (RFC 6762, section 6). */
const SECOND_MS = 1_000;
/** How often interfaces that come and go are looked for. */
const LOOK_MS = 15_000;
/** Time for the last packet to leave. */
const FAREWELL_MS = 200;
const PORT = 5353;

export interface AdvertiseOptions {
  /** Ends it: others are told that the run is over. */
  readonly signal: AbortSignal;
  /** The only address of this machine that leads to the run; undefined: all do. */
  readonly ip?: string | undefined;
  /** Called once if the run cannot be told to some network. */
  readonly onProblem: (error: Error) => void;
  readonly interfaces?: () => Interfaces;
}

/** Resolves when `signal` has aborted and all sockets are closed. Never rejects. */
export async function advertise(advert: RunAdvert, options: AdvertiseOptions): Promise<void> {
  const { signal, ip, interfaces = () => os.networkInterfaces() } = options;
  const open = new Map<string, Herald>();
  let hasFailed = false;
  const fail = (error: Error): void => {
    if (!hasFailed) options.onProblem(error);
    hasFailed = true;
  };
  while (!signal.aborted) {
    const places = new Map(placesFor(ip, interfaces()).map((place) => [JSON.stringify(place), place]));
    for (const [key, place] of places) if (!open.has(key)) open.set(key, new Herald(advert, place, fail));
    for (const [key, herald] of open) {
      if (places.has(key)) continue;
      open.delete(key);
      void herald.close(0);
    }
    await sleep(LOOK_MS, undefined, { signal, ref: false }).catch(() => undefined);
  }
  await Promise.all([...open.values()].map((herald) => herald.close(FAREWELL_MS)));
}

function placesFor(ip: string | undefined, interfaces: Interfaces): readonly Place[] {
  const places = placesOf(interfaces, process.platform);
  return ip === undefined ? places : places.flatMap((place) => (place.ips.includes(ip) ? [{ ...place, ips: [ip] }] : []));
}

/** Tells one network. */
class Herald {
  readonly #socket: mdns.MulticastDNS;
  readonly #records: (ttl?: number) => DnsAnswer;
  #lastMs = -Infinity;
  #isBroken = false;
  #again: NodeJS.Timeout | undefined;

  constructor(advert: RunAdvert, place: Place, onProblem: (error: Error) => void) {
    const { ips } = place;
    this.#records = (ttl) => recordsOf(advert, ips, ttl);
    this.#socket = openSocket(place);
    this.#socket.on('error', (error) => {
      this.#isBroken = true;
      onProblem(error);
    });
    // A packet that is none, or a network that has gone.
    this.#socket.on('warning', () => undefined);
    this.#socket.on('query', ({ questions = [], answers = [] }, { port }) => {
      // Others ask for an answer to themselves alone, which workers never do.
      const answer = port === PORT ? answerTo(questions, answers, advert, ips) : undefined;
      if (answer !== undefined && performance.now() - this.#lastMs >= SECOND_MS) this.#say(answer);
    });
    this.#socket.on('ready', () => {
      this.#say(this.#records());
      this.#again = setTimeout(() => this.#say(this.#records()), SECOND_MS).unref();
    });
  }

  async close(farewellMs: number): Promise<void> {
    clearTimeout(this.#again);
    if (farewellMs > 0 && !this.#isBroken) {
      this.#say(this.#records(0));
      await sleep(farewellMs);
    }
    await new Promise<void>((resolve) => this.#socket.destroy(resolve));
  }

  #say(answer: DnsAnswer): void {
    if (this.#isBroken) return;
    this.#lastMs = performance.now();
    this.#socket.respond(answer as unknown as mdns.ResponseOutgoingPacket);
  }
}
