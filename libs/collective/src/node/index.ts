export { serveConnections } from './accept.js';
export { listenGuarded, type GuardedPort, type GuardedPortOptions } from './guarded-port.js';
export { hmacSha1, iceServersFor } from './ice-servers.js';
export { createListeningService, newSecret } from './listening-service.js';
export { startStarService, type NodeServiceOptions, type NodeStarService } from './service.js';
