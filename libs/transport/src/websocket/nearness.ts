/** How near an address is to this machine, so that a stranger cannot send this machine to its neighbours. */
import { BlockList, isIP } from 'node:net';

/** From the nearest to the farthest. */
const NEARER_THAN_INTERNET: readonly { readonly where: string; readonly ranges: readonly string[] }[] = [
  { where: 'on this machine', ranges: ['127.0.0.0/8', '0.0.0.0/8', '::1/128', '::/128'] },
  { where: 'on this link', ranges: ['169.254.0.0/16', 'fe80::/10'] },
  // RFC 1918, RFC 6598, RFC 4193.
  { where: 'in a private network', ranges: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'] },
];

const LISTS = NEARER_THAN_INTERNET.map(({ ranges }) => {
  const list = new BlockList();
  for (const range of ranges) {
    const [network, prefix] = range.split('/');
    list.addSubnet(network, Number(prefix), network.includes(':') ? 'ipv6' : 'ipv4');
  }
  return list;
});

/** @param ip "10.0.0.1" or "fe80::1%eth0". @returns 0, this machine, to 3, the internet */
export function distanceOf(ip: string): number {
  const plain = ip.replace(/%.*/, '').replace(/^::ffff:(?=\d+\.)/i, '');
  const version = isIP(plain);
  const at = version === 0 ? -1 : LISTS.findIndex((list) => list.check(plain, version === 6 ? 'ipv6' : 'ipv4'));
  return at < 0 ? LISTS.length : at;
}

/** "in a private network". */
export function whereIs(ip: string): string {
  return NEARER_THAN_INTERNET[distanceOf(ip)]?.where ?? 'on the internet';
}
