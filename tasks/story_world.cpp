// A small world: every event is possible when it happens, and every question follows from the text.
#include "tasks/story_world.h"

#include "lib/core/error.h"

#include <algorithm>
#include <array>
#include <optional>

namespace mta {
namespace {

constexpr std::string_view kActors[] = {"Anna", "Bruno", "Clara", "Daniel",
                                        "Emma", "Felix", "Greta", "Gustav"};
constexpr std::string_view kObjects[] = {"football", "umbrella", "suitcase", "newspaper",
                                         "scarf",    "notebook", "teapot",   "pillowcase"};
constexpr std::string_view kRooms[] = {"bathroom", "hallway", "bedroom", "attic",
                                       "library",  "balcony", "pantry",  "porch"};

using Index = std::uint32_t;

/// A stay of a thing in a room, and the facts that tell of it.
struct Stay {
  Index room;
  std::size_t taken;    // the fact that somebody took it there or before
  std::size_t arrival;  // the fact that brought the carrier into the room
};

struct Actor {
  std::optional<Index> room;
  std::size_t arrival = 0;  // the fact that tells the room
};

struct Thing {
  std::optional<Index> holder;
  std::size_t taken = 0;
  std::vector<Stay> stays;  // rooms in order, each different from the one before
};

class World {
 public:
  World(const StoryShape& shape, Rng& rng)
      : shape_(shape), rng_(rng), actors_(shape.actors), things_(shape.objects) {}

  /// A story without question.
  Story run() {
    Story story;
    while (story.sentences.size() < shape_.facts) step(story);
    return story;
  }

  /// Adds a question that needs as many facts as wanted; false when the story has none.
  bool ask(Story& story) {
    if (shape_.facts_needed == 1) return ask_for_actor(story);
    const Index first = rng_.below(shape_.objects);
    for (Index i = 0; i < shape_.objects; ++i) {
      const Index thing = (first + i) % shape_.objects;
      if (shape_.facts_needed == 2 ? ask_where(story, thing) : ask_before(story, thing))
        return true;
    }
    return false;
  }

 private:
  /// One fact: half of them are walks; taking and dropping need the right place.
  void step(Story& story) {
    const Index who = rng_.below(shape_.actors), what = rng_.below(shape_.objects);
    Actor& actor = actors_[who];
    Thing& thing = things_[what];
    const std::size_t fact = story.sentences.size();
    const std::string name(kActors[who]), object(kObjects[what]);
    if (!actor.room || rng_.below(2) == 0) {
      walk(who, fact);
      story.sentences.push_back(name + " went to the " + std::string(kRooms[*actor.room]) + ".");
    } else if (thing.holder == who) {
      thing.holder.reset();
      story.sentences.push_back(name + " dropped the " + object + ".");
    } else if (!thing.holder && (thing.stays.empty() || thing.stays.back().room == *actor.room)) {
      thing.holder = who;
      thing.taken = fact;
      if (thing.stays.empty()) thing.stays.push_back({*actor.room, fact, actor.arrival});
      story.sentences.push_back(name + " took the " + object + ".");
    }
  }

  void walk(Index who, std::size_t fact) {
    Actor& actor = actors_[who];
    Index room = rng_.below(shape_.rooms - (actor.room ? 1 : 0));
    if (actor.room && room >= *actor.room) ++room;
    actor.room = room;
    actor.arrival = fact;
    for (Thing& thing : things_) {
      if (thing.holder == who) thing.stays.push_back({room, thing.taken, fact});
    }
  }

  bool ask_for_actor(Story& story) {
    const Index first = rng_.below(shape_.actors);
    for (Index i = 0; i < shape_.actors; ++i) {
      const Index who = (first + i) % shape_.actors;
      if (!actors_[who].room) continue;
      story.question = "Where is " + std::string(kActors[who]) + "?";
      story.answer = kRooms[*actors_[who].room];
      story.needed = {actors_[who].arrival};
      return true;
    }
    return false;
  }

  /// A thing that was carried after it was taken: the taking, and the carrier's last walk with it.
  bool ask_where(Story& story, Index what) const {
    const std::vector<Stay>& stays = things_[what].stays;
    if (stays.size() < 2) return false;
    story.question = "Where is the " + std::string(kObjects[what]) + "?";
    story.answer = kRooms[stays.back().room];
    story.needed = {stays.back().taken, stays.back().arrival};
    return true;
  }

  /// Where it was before a room in which it was once only: besides, what tells of the room before.
  bool ask_before(Story& story, Index what) const {
    const std::vector<Stay>& stays = things_[what].stays;
    for (std::size_t i = stays.size(); i-- > 1;) {
      const auto same = [&](const Stay& stay) { return stay.room == stays[i].room; };
      if (std::count_if(stays.begin(), stays.end(), same) != 1) continue;
      story.question = "Where was the " + std::string(kObjects[what]) + " before the " +
                       std::string(kRooms[stays[i].room]) + "?";
      story.answer = kRooms[stays[i - 1].room];
      story.needed = {stays[i].taken, stays[i].arrival, stays[i - 1].arrival};
      std::sort(story.needed.begin(), story.needed.end());
      return true;
    }
    return false;
  }

  const StoryShape& shape_;
  Rng& rng_;
  std::vector<Actor> actors_;
  std::vector<Thing> things_;
};

}  // namespace

std::span<const std::string_view> actors() { return kActors; }
std::span<const std::string_view> objects() { return kObjects; }
std::span<const std::string_view> rooms() { return kRooms; }

Story draw_story(const StoryShape& shape, Rng& rng) {
  constexpr int kTries = 10000;
  for (int i = 0; i < kTries; ++i) {
    World world(shape, rng);
    Story story = world.run();
    if (world.ask(story)) return story;
  }
  throw UserError("", "none of 10000 stories allows a question that needs so many facts",
                  "raise facts, or lower actors, objects or rooms");
}

}  // namespace mta
