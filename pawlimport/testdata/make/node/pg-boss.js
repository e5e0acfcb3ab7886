// Makes a database that pg-boss has worked in: its schema, and jobs in every state, brought there by pg-boss's own API.
// Connects as the variables PGHOST, PGUSER and PGDATABASE say.
import assert from 'node:assert'
import { PgBoss } from 'pg-boss'

const later = '2100-01-02T03:04:05.678Z' // When what is to be scheduled is due, whenever the tests run.
const farAway = { retentionSeconds: 3_000_000_000 - 900_000_000 } // Nothing of it is past its retention when the tests run.

const boss = new PgBoss({ host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE, supervise: false, schedule: false })
boss.on('error', error => { throw error })
await boss.start()

const queue = (name, options = {}) => boss.createQueue(name, { ...farAway, ...options })
await queue('rest')
await queue('email', { deadLetter: 'rest' })
await queue('work', { retryLimit: 4 })
await queue('big', { partition: true })
for (const policy of ['short', 'singleton', 'stately', 'exclusive', 'key_strict_fifo']) await queue(policy, { policy })

const send = async (name, data, options) => {
  const id = await boss.send(name, data, options)
  assert(id, `${name} refused a job`)
  return id
}
// fetched takes the one job that may be taken.
const fetched = async name => {
  const jobs = await boss.fetch(name)
  assert.equal(jobs.length, 1)
  return jobs[0]
}
const boom = text => { const error = new Error(text); error.code = 'E_BOOM'; return error }

// Created.
await send('email', { to: 'ann@example.com' })
await send('email', { to: 'bob@example.com', text: 'Grüße, 世界 \u{1F600} </script> "\\\n', deep: [1.5e-7, null, true, []] },
  { priority: 5, retryLimit: 7, retryDelay: 30, retryBackoff: true, retryDelayMax: 600, expireInSeconds: 60 })
await send('email', null, { priority: -100000 })
await send('big', { n: 1 })
await send('big', { n: 2 }, { group: { id: 'tenant-1', tier: 'gold' } })
await send('email', { to: 'later@example.com' }, { startAfter: later })
await send('email', { to: 'key@example.com' }, { singletonKey: 'no policy' })
await send('email', { to: 'slot@example.com' }, { singletonKey: 'slot', singletonSeconds: 3600 })
await send('email', { to: 'beats@example.com' }, { heartbeatSeconds: 30 })

// Worked once, and twice, and waiting for a retry in a long time; over; dead; cancelled.
await send('work', { what: 'fail' }, { retryDelay: 2_000_000_000 })
await boss.fail('work', (await fetched('work')).id, boom('attempt 1 went wrong: «naïve» "quoted"'))
await send('work', { what: 'fail twice' }, { retryDelay: 0 })
await boss.fail('work', (await fetched('work')).id, boom('attempt 1'))
await boss.fail('work', (await fetched('work')).id, { message: 'attempt 2', more: [1] })
await boss.cancel('work', (await fetched('work')).id) // Out of the way for a moment.
const cancelled = (await boss.findJobs('work')).find(job => job.state === 'cancelled')
await send('work', { what: 'complete' })
await boss.complete('work', (await fetched('work')).id, { done: true })
await send('work', { what: 'die' }, { retryLimit: 0 })
await boss.fail('work', (await fetched('work')).id, boom('dead'))
await send('email', { to: 'dead@example.com' }, { priority: 9999, retryLimit: 0 })
await boss.fail('email', (await fetched('email')).id, boom('dead letter')) // Its copy is in rest.
await boss.cancel('work', await send('work', { what: 'cancel' }, { startAfter: later }))
await boss.resume('work', cancelled.id)
await send('work', { what: 'hang' }, { priority: 100 })
assert.equal((await fetched('work')).data.what, 'hang')

// Policies.
await send('short', { n: 1 })
await send('short', { n: 2 }, { singletonKey: 'a' })
await send('singleton', { n: 1 }, { singletonKey: 'a' })
await send('singleton', { n: 2 }, { singletonKey: 'a' })
await send('stately', { n: 1 }, { singletonKey: 'a', retryDelay: 2_000_000_000 })
await boss.fail('stately', (await fetched('stately')).id, boom('stately'))
await send('stately', { n: 2 }, { singletonKey: 'a' })
await send('exclusive', { n: 1 })
await send('exclusive', { n: 2 }, { singletonKey: 'a', startAfter: later })
await send('key_strict_fifo', { n: 1 }, { singletonKey: 'a' })
await send('key_strict_fifo', { n: 2 }, { singletonKey: 'a' })
await send('key_strict_fifo', { n: 3 }, { singletonKey: 'b' })

// A flow.
await boss.flow([{ ref: 'parent', name: 'big', data: { n: 'parent' } }, { ref: 'child', name: 'big', data: { n: 'child' }, dependsOn: ['parent'] }])

// Schedules.
await boss.schedule('email', '30 8 * * 1-5', { to: 'digest@example.com' }, { tz: 'Europe/Berlin', key: 'digest', priority: 3, retryLimit: 4 })
await boss.schedule('work', '*/5 * * * *')
await boss.schedule('big', 'FREQ=DAILY;BYHOUR=6', { n: 'rule' }, { kind: 'rrule', key: 'rule' })

await boss.stop({ graceful: false })
