-- What Argo CD shows for an object of loopwright.io, from the conditions that kstatus defines.
-- All kinds carry them. Argo CD calls this with `obj`; it is Lua 5.1 without libraries.
local health = { status = "Progressing", message = "Loopwright has not looked at it yet" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration < obj.metadata.generation then
  health.message = "Loopwright has not looked at the newest spec yet"
  return health
end

local known = {}
for _, condition in ipairs(status.conditions) do
  known[condition.type] = condition
end
local function holds(name)
  return known[name] ~= nil and known[name].status == "True"
end
local function say(word, condition)
  health.status = word
  health.message = condition.reason
  if condition.message ~= nil and condition.message ~= "" then
    health.message = condition.reason .. ": " .. condition.message
  end
  return health
end

if known.Ready == nil then
  return health
end
if holds("Stalled") then
  return say("Degraded", known.Stalled)
end
-- Jobs have a condition of that name, endpoints only the reason.
if holds("Suspended") or known.Ready.reason == "Suspended" then
  return say("Suspended", known.Ready)
end
if not holds("Ready") then
  return say("Progressing", known.Ready)
end
-- A version that nobody has decided about waits for a person.
if status.phase == "PendingApproval" and known.Approved ~= nil then
  return say("Suspended", known.Approved)
end
-- An endpoint serves all the same, but not all that its spec says.
if holds("RoutingDegraded") then
  return say("Healthy", known.RoutingDegraded)
end
return say("Healthy", known.Ready)
