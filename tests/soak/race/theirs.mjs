// The official client: node theirs.mjs log-in|work FOLDER
//
// Its processes share a store of files; no lock is given, which is its default.
// It is spoken to as `ours.py` is: a line of JSON in, a line of JSON out.
import fs from 'node:fs'
import path from 'node:path'
import readline from 'node:readline'

import { NodeOAuthClient } from '@atproto/oauth-client-node'

console.warn = () => {} // that no lock is given
const [task, folder] = process.argv.slice(2)
const { ATPROTO_PLC_URL: plcDirectoryUrl, ATPROTO_HANDLE_RESOLVER_URL: handleResolver } =
  process.env

const fileOf = (key) => path.join(folder, `${encodeURIComponent(key)}.json`)
const sessionStore = {
  async get(key) {
    const file = fileOf(key)
    return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : undefined
  },
  async set(key, value) {
    const draft = `${fileOf(key)}.${process.pid}`
    fs.writeFileSync(draft, JSON.stringify(value))
    fs.renameSync(draft, fileOf(key))
  },
  async del(key) {
    fs.rmSync(fileOf(key), { force: true })
  },
}
const states = new Map()
const stateStore = {
  get: async (key) => states.get(key),
  set: async (key, value) => void states.set(key, value),
  del: async (key) => void states.delete(key),
}

// So that the front knows who asks.
async function fetchAsMyself(input, init) {
  const request = input instanceof Request && !init ? input : new Request(input, init)
  request.headers.set('user-agent', `soak/${process.pid}`)
  return fetch(request)
}

const redirectUri = 'http://127.0.0.1:5000/callback'
const scope = 'atproto'
const client = new NodeOAuthClient({
  clientMetadata: {
    client_id: `http://localhost?${new URLSearchParams([['redirect_uri', redirectUri], ['scope', scope]])}`,
    redirect_uris: [redirectUri],
    scope,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
  },
  stateStore,
  sessionStore,
  allowHttp: true,
  handleResolver,
  plcDirectoryUrl,
  fetch: fetchAsMyself,
})

async function isAnswered(did) {
  try {
    const session = await client.restore(did)
    const answer = await session.fetchHandler('/xrpc/com.atproto.server.getSession')
    return answer.status === 200
  } catch {
    return false
  }
}

const tasks = {
  'log-in': async ({ identifier, back }) => {
    if (identifier) return { authUrl: await client.authorize(identifier, { scope }) }
    const { session } = await client.callback(new URL(back).searchParams)
    return { did: session.did }
  },
  work: async ({ at, dids }) => {
    await new Promise((go) => setTimeout(go, at * 1000 - Date.now()))
    const answered = await Promise.all(dids.map(isAnswered))
    return { answered: answered.filter(Boolean).length }
  },
}

const say = (word) => process.stdout.write(`${JSON.stringify(word)}\n`)
say('ready')
for await (const line of readline.createInterface({ input: process.stdin })) {
  say(await tasks[task](JSON.parse(line)))
}
