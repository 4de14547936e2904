/** Whose links count together, whatever each of them is for. */

/**
 * `addressKey` of the far end of a link.
 * @param remote "10.0.0.1:4242" or "[2001:db8::1]:4242". An address without a port is one that a proxy has reported
 */
export function remoteKey(remote: string): string | undefined {
  return addressKey(addressOf(remote), !/:\d+$/.test(remote));
}

/**
 * Which machine is at the far end of a link, also if it is this one.
 * @param remote as for `remoteKey`, with or without the port
 */
export function machineKey(remote: string): string {
  return machineOf(addressOf(remote));
}

/**
 * Which machine an address without a port or brackets belongs to.
 * @param reported a proxy has reported it: then it is not of this machine, whatever it says
 * @returns undefined for this machine, whose users need no protection from themselves
 */
export function addressKey(address: string, reported: boolean): string | undefined {
  return reported || !LOOPBACK.test(unmapped(address)) ? machineOf(address) : undefined;
}

/**
 * Which addresses count as one: an IPv4 address by itself, or all that have the same first 64 bits of IPv6, because one machine has all the
 * rest (RFC 4291, section 2.5.4). All machines of one network have the first 64 bits of a link-local address (fe80::/10) in common, so it
 * counts as a whole.
 */
function machineOf(address: string): string {
  const ip = unmapped(address);
  if (!ip.includes(':')) return ip;
  const groups = groupsOf(ip);
  return LINK_LOCAL.test(groups[0]) ? groups.join(':') : `${groups.slice(0, 4).join(':')}::/64`;
}

/** Without port and brackets. */
function addressOf(remote: string): string {
  return /^\[([^\]]*)\]/.exec(remote)?.[1] ?? remote.replace(/:\d+$/, '');
}

/** An IPv4 address may come in the form of IPv6. */
function unmapped(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}

const LOOPBACK = /^(127\.[\d.]*|::1)$/;
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
