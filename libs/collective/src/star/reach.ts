/** How a worker opens links to the reducers of its run. */
import type { Connection } from '@troupe/transport';
import type { IceServer, RtcLinks } from '@troupe/transport/webrtc';
import type { JoinOptions } from '../port.js';
import { RTC_ADDRESS, type OpenSignalling } from './signals.js';

/** A link that is to be opened to a reducer. */
export interface Call {
  readonly reducer: string;
  /** One that `reaches` accepts. */
  readonly address: string;
  readonly iceServers: readonly IceServer[];
  /** Over the service. It ends with the link. */
  openSignalling(): OpenSignalling;
}

export interface Reach {
  /** Whether this worker can open links to such an address. */
  reaches(address: string): boolean;
  /** @throws TransportError */
  connect(call: Call, signal: AbortSignal): Promise<Connection>;
}

export interface ReachOptions {
  /** Opens a link to the service or reducer at `address`, or gives up within seconds. @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  /** Whether workers may open WebSockets to reducers. Default: true. */
  readonly direct?: boolean;
  /** The same as `connect`, for links to reducers. Default: `connect`. */
  connectReducer?(address: string, signal: AbortSignal): Promise<Connection>;
  /** With it, workers open links over WebRTC. */
  readonly rtc?: RtcLinks;
  readonly peer?: { connect(): Connection };
}

/** Undefined: this worker uses the service alone. */
export function reachOf(
  { connect, connectReducer = connect, direct = true, rtc, peer }: ReachOptions,
  join: JoinOptions,
): Reach | undefined {
  if (!direct && !rtc) return undefined;
  return {
    reaches: (address) => (address === RTC_ADDRESS ? rtc !== undefined : direct),
    async connect(call, signal) {
      const { reducer, address } = call;
      if (peer && reducer === join.workerId) return peer.connect();
      if (address === RTC_ADDRESS) return callOverRtc(rtc!, call, signal);
      return connectReducer(addressFrom(join.address, address), signal);
    },
  };
}

/** The signalling lasts as long as the link, which may have to look for another path. */
async function callOverRtc(
  rtc: RtcLinks,
  { reducer, iceServers, openSignalling }: Call,
  signal: AbortSignal,
): Promise<Connection> {
  const signalling = openSignalling();
  try {
    const connection = await rtc.offer({ remote: reducer, signalling, iceServers, signal });
    void connection.closed.then(() => signalling.end());
    return connection;
  } catch (error) {
    signalling.end();
    throw error;
  }
}

/** ":7072" is a port of the machine at which `service` was reached. */
function addressFrom(service: string, address: string): string {
  const [, scheme = '', port] = /^(wss?:\/\/)?(:\d+)$/.exec(address) ?? [];
  if (port === undefined) return address;
  const machine = /^\w+:\/\/(\[[^\]]*\]|[^:/]+)/.exec(service)?.[0] ?? service;
  return (scheme === '' ? machine : machine.replace(/^\w+:\/\//, scheme)) + port;
}
