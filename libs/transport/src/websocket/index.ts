export { connectWebSocket, type ConnectOptions } from './connect.js';
export { type WebSocketOptions } from './connection.js';
export { attachWebSocket, listenHttp, listenWebSocket, type AttachOptions, type ListenOptions } from './listen.js';
export { masksNatively } from './masking.js';
export { createFetch, proxyFor, type Environment } from './proxy.js';
export { lookUpHost, measureConnection, type LookedUp, type Reached, type ReachOptions } from './reach.js';
export { distanceOf, whereIs } from './nearness.js';
