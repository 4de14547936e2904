/** Whose links count together, whatever each of them is for. */

/**
 * The same for the far end of a link.
 * @param remote "10.0.0.1:4242" or "[2001:db8::1]:4242". An address without a port is one that a proxy has reported
 */
export function remoteKey(remote: string): string | undefined {
  const address = /^\[([^\]]*)\]/.exec(remote)?.[1] ?? remote.replace(/:\d+$/, '');
  return addressKey(address, !/:\d+$/.test(remote));
}

/**
 * Which machines count as one: an IPv4 address, or the first 64 bits of its IPv6 address, of which one machine has all the rest
 * (RFC 4291, section 2.5.4). All machines of one network have the first 64 bits of a link-local address (fe80::/10) in common, so it counts
 * as a whole.
 * @param address without a port or brackets
 * @param reported a proxy has reported it: then it is not of this machine, whatever it says
 * @returns undefined for this machine, whose users need no protection from themselves
 */
export function addressKey(address: string, reported: boolean): string | undefined {
  if (!address.includes(':')) return address.startsWith('127.') && !reported ? undefined : address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return addressKey(mapped, reported);
  if (address === '::1' && !reported) return undefined;
  const groups = groupsOf(address);
  return LINK_LOCAL.test(groups[0]) ? groups.join(':') : `${groups.slice(0, 4).join(':')}::/64`;
}

/** The first group of fe80::/10. */
const LINK_LOCAL = /^fe[89ab]/;

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf(address: string): string[] {
  const [head, tail] = address.toLowerCase().replace(/%.*/, '').split('::');
  const [left, right] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean));
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill('0'), ...right];
  return groups.map((group) => group.replace(/^0+(?=.)/, ''));
}
