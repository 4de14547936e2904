/** The networks of this machine, and a socket for multicast DNS on each. */
import dgram from 'node:dgram';
import type os from 'node:os';
import mdns from 'multicast-dns';

export type Interfaces = NodeJS.Dict<os.NetworkInterfaceInfo[]>;

/** A network, and the protocol to be used on it. */
export interface Place {
  /** Unique: "eth0, udp4". */
  readonly key: string;
  readonly type: 'udp4' | 'udp6';
  /** Where a socket takes part in multicast: an address of the interface, or for IPv6 its scope. */
  readonly interface: string;
  /** Addresses of this machine there. */
  readonly ips: readonly string[];
}

const GROUPS = { udp4: '224.0.0.251', udp6: 'ff02::fb' } as const;

/** All networks, with IPv4 and IPv6 each by itself. The loopback interface is none. */
export function placesOf(interfaces: Interfaces, platform: NodeJS.Platform): readonly Place[] {
  return Object.entries(interfaces).flatMap(([name, infos = []]) => {
    const outside = infos.filter(({ internal }) => !internal);
    const ips = outside.map(({ address }) => address).filter((ip) => !/^fe80:/i.test(ip));
    const [v4] = outside.filter(({ family }) => family === 'IPv4');
    const [v6] = outside.filter(({ family }) => family === 'IPv6');
    return [
      ...(v4 ? [{ key: `${name}, udp4`, type: 'udp4' as const, interface: v4.address, ips }] : []),
      ...(v6 ? [{ key: `${name}, udp6`, type: 'udp6' as const, interface: `::%${scopeOf(name, v6, platform)}`, ips }] : []),
    ];
  });
}

function scopeOf(name: string, { scopeid }: os.NetworkInterfaceInfo, platform: NodeJS.Platform): string {
  return platform === 'win32' ? String(scopeid) : name;
}

/** A socket at port 5353, which it shares with other programs. Errors come as events `error` and `warning`. */
export function openSocket({ type, interface: at }: Place): mdns.MulticastDNS {
  const socket = dgram.createSocket({ type, reuseAddr: true, ...(type === 'udp6' ? { ipv6Only: true } : {}) });
  return mdns({ type, ip: GROUPS[type], interface: at, bind: type === 'udp6' ? '::' : '0.0.0.0', socket });
}
