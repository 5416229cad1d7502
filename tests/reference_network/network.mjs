// The reference network: the official PLC directory and PDS in one process, on loopback.
// The PDS is its own OAuth authorization server, by plain http on http://localhost:PORT.
//
//   --tls FILE       instead, by https: https://pds.test, https://plc.test, and
//                    https://HANDLE; FILE holds key and certificate. front.mjs serves them
//   --as-host HOST   with --tls: the authorization server is https://HOST instead
//   --public-port N  without --tls: the PDS takes itself to be at http://localhost:N, where
//                    somebody else listens and passes on to `pdsPort` of the ready line
//
//   stdout   one line of JSON once everything listens, then nothing
//   stdin    its end means that the parent is gone: the network stops by itself
//   SIGTERM  clean stop, exit code 0
//
// tests/reference_network/process.py starts it, and names every control call.
import { AsyncLocalStorage } from 'node:async_hooks'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import timers from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { startFront, startNameServer } from './front.mjs'

const PDS_HOST = 'pds.test'
const PLC_HOST = 'plc.test'
const { values: options } = parseArgs({
  options: {
    tls: { type: 'string' },
    'as-host': { type: 'string' },
    'public-port': { type: 'string' },
  },
})
const asHost = options['as-host']

// --- stopping: installed first, so that a parent that dies early leaves nothing behind ------
const cleanups = [] // run last to first
let stopping = false

async function stop() {
  if (stopping) return
  stopping = true
  setTimeout(() => process.exit(1), 10_000).unref()
  for (const cleanup of cleanups.reverse()) await cleanup()
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.stdin.on('end', stop).on('error', stop).resume()

// --- loopback only: both servers call listen(port), which would bind every interface --------
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (...args) {
  if (typeof args[0] === 'number' && typeof args[1] !== 'string') args.splice(1, 0, '127.0.0.1')
  return listen.apply(this, args)
}

// --- no waiting: sign-ins take 400 ms, so that their time tells nothing; here it need not ----
const signingIn = new AsyncLocalStorage()
const atOnce = (sleep, index) =>
  new Proxy(sleep, {
    apply(target, self, args) {
      return Reflect.apply(target, self, signingIn.getStore() ? args.with(index, 0) : args)
    },
  })
globalThis.setTimeout = atOnce(setTimeout, 1)
timers.setTimeout = atOnce(timers.setTimeout, 0)
syncBuiltinESMExports()

function skipWaiting(manager) {
  const { authenticateAccount } = manager
  manager.authenticateAccount = (...args) =>
    signingIn.run(true, () => authenticateAccount.apply(manager, args))
}

async function freePort() {
  const server = net.createServer()
  await new Promise((done, failed) => server.once('error', failed).listen(0, done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

const { PlcServer, Database } = (await import('@did-plc/server')).default
const { PDS } = await import('@atproto/pds')
const { Secp256k1Keypair } = await import('@atproto/crypto')

// --- PLC directory, in memory ----------------------------------------------------------------
const plcPort = await freePort()
const plc = PlcServer.create({ db: Database.mock(), port: plcPort })
await plc.start()
cleanups.push(() => plc.destroy())
const plcUrl = `http://localhost:${plcPort}`

// --- PDS, in a temporary directory -----------------------------------------------------------
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'reference-network-'))
// At the very end: a PDS that is stopped while it starts still writes files.
process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }))
const rotationKey = await Secp256k1Keypair.create({ exportable: true })
const pdsPort = await freePort()
const pds = await PDS.fromEnv({
  devMode: true,
  port: Number(options['public-port'] ?? pdsPort),
  // Without a host name the issuer is http://localhost:PORT.
  ...(options.tls && { hostname: asHost ?? PDS_HOST, serviceDid: `did:web:${PDS_HOST}` }),
  dataDirectory: directory,
  blobstoreDiskLocation: path.join(directory, 'blobs'),
  recoveryDidKey: (await Secp256k1Keypair.create()).did(),
  adminPassword: crypto.randomBytes(16).toString('hex'),
  jwtSecret: crypto.randomBytes(16).toString('hex'),
  serviceHandleDomains: ['.test'],
  didPlcUrl: plcUrl,
  plcRotationKeyK256PrivateKeyHex: Buffer.from(await rotationKey.export()).toString('hex'),
  inviteRequired: false,
  disableSsrfProtection: true, // client metadata may be served from loopback
  serviceName: 'Reference PDS',
})
pds.ctx.cfg.service.port = pdsPort
await pds.start()
cleanups.push(() => pds.destroy())
skipWaiting(pds.ctx.oauthProvider.accountManager)
if (asHost) {
  // One program on two origins: the provider stays at asHost, the resource server moves.
  pds.ctx.cfg.service.publicUrl = `https://${PDS_HOST}`
  pds.ctx.authVerifier._publicUrl = pds.ctx.cfg.service.publicUrl
}

// --- names and TLS ---------------------------------------------------------------------------
const routes = new Map() // the tests' applications: host to target
const AS_PATH = /^\/(oauth|account|@atproto)(\/|$)|^\/\.well-known\/oauth-authorization-server$/

function targetOf(host) {
  if (host === PLC_HOST) return { port: plcPort }
  if (routes.has(host)) return routes.get(host)
  return host === asHost || host.endsWith('.test') ? { port: pdsPort } : undefined
}

// On two origins each host has its half only, and its own metadata.
function answerFor(host, path) {
  if (!asHost || (host !== PDS_HOST && host !== asHost)) return undefined
  if (AS_PATH.test(path) !== (host === asHost)) return { status: 404, body: {} }
  const { publicUrl: resource } = pds.ctx.cfg.service
  const { metadata } = pds.ctx.oauthProvider
  if (path === '/.well-known/oauth-protected-resource') {
    return { status: 200, body: { resource, authorization_servers: [metadata.issuer] } }
  }
  if (path === '/.well-known/oauth-authorization-server') {
    return { status: 200, body: { ...metadata, protected_resources: undefined } }
  }
}

const nameServer = options.tls && (await startNameServer())
const front =
  options.tls && (await startFront(fs.readFileSync(options.tls), { targetOf, answerFor }))
cleanups.push(() => {
  nameServer?.close()
  front?.close()
  front?.closeAllConnections()
})

// --- control: what no public endpoint of the PDS can do --------------------------------------
const db = pds.ctx.accountManager.db.db
const { clientManager, dpopManager, tokenManager } = pds.ctx.oauthProvider
const defaultTokenLifetimeMs = tokenManager.tokenMaxAge

// The PDS keeps what it fetched of a client for 10 minutes, and does not say of whom.
const clientCaches = [clientManager.metadataGetter, clientManager.jwks].map((cache) => {
  const { setStored } = cache
  const keys = new Set()
  cache.setStored = (key, value) => (keys.add(key), setStored.call(cache, key, value))
  return { cache, keys }
})

async function forgetClients() {
  for (const { cache, keys } of clientCaches) {
    for (const key of keys) await cache.delStored(key)
    keys.clear()
  }
}

async function deleteFrom(table, did) {
  const all = db.deleteFrom(table)
  const result = await (did ? all.where('did', '=', did) : all).executeTakeFirst()
  return { deleted: Number(result.numDeletedRows) }
}

async function sessions(did) {
  const all = db.selectFrom('token').selectAll()
  const rows = await (did ? all.where('did', '=', did) : all).execute()
  return rows.map(({ did, clientId, scope, createdAt, updatedAt, expiresAt, clientAuth }) => {
    const clientAuthMethod = JSON.parse(clientAuth).method
    return { did, clientId, scope, createdAt, updatedAt, expiresAt, clientAuthMethod }
  })
}

const control = {
  'GET /status': () => status(),
  'GET /sessions': ({ did }) => sessions(did),
  'POST /revoke': ({ did }) => deleteFrom('token', did),
  'POST /forget-consent': () => deleteFrom('authorized_client'),
  'POST /forget-clients': () => forgetClients(),
  // What the front serves for a host from now on; without `port`, nothing.
  'POST /route': ({ host, port, byTls }) => {
    if (port) routes.set(host, { port, byTls })
    else routes.delete(host)
  },
  // Holds for access tokens issued from now on; without `ms`, the PDS's own value again.
  'POST /token-lifetime': ({ ms }) => {
    tokenManager.tokenMaxAge = ms ?? defaultTokenLifetimeMs
    return status()
  },
  // A new secret: every nonce handed out so far becomes invalid at once.
  'POST /rotate-nonces': () => {
    const DpopNonce = dpopManager.dpopNonce.constructor
    dpopManager.dpopNonce = new DpopNonce()
    return status()
  },
}

const controlServer = http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://control')
  const answer = (code, body) => {
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const handler = control[`${request.method} ${url.pathname}`]
  if (!handler) return answer(404, { error: 'no such control call' })
  try {
    let body = ''
    for await (const chunk of request) body += chunk
    answer(200, (await handler(body ? JSON.parse(body) : Object.fromEntries(url.searchParams))) ?? {})
  } catch (error) {
    answer(500, { error: String(error) })
  }
})
await new Promise((done) => controlServer.listen(0, done))
cleanups.push(() => {
  controlServer.close()
  controlServer.closeAllConnections()
})

const status = () => ({
  pid: process.pid,
  pds: pds.ctx.cfg.service.publicUrl,
  issuer: pds.ctx.cfg.oauth.issuer,
  plc: options.tls ? `https://${PLC_HOST}` : plcUrl,
  pdsPort,
  frontPort: front?.address().port,
  nameServerPort: nameServer?.address().port,
  control: `http://127.0.0.1:${controlServer.address().port}`,
  tokenLifetimeMs: tokenManager.tokenMaxAge,
})
process.stdout.write(JSON.stringify(status()) + '\n')
