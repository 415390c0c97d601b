// How maps are cut into tiles, in memory and along the keys.
#include "lib/kernels/tile_plan.h"

#include "lib/kernels/support.h"

#include <gtest/gtest.h>

namespace mta::kernels {
namespace {

/// Tiles in memory follow each other without gaps, and hold all that rows may read or write.
TEST(MapShape, TriangularMapsHaveTheTilesThatTheirRowsReach) {
  for (const int tokens : {1, 16, 63, 64, 65, 200, 1000, 4096}) {
    const MapShape shape = map_shape(tokens, ceil_div(tokens, kTileKeys), true);
    int tiles = 0;
    for (int block = 0; block < shape.blocks; ++block) {
      ASSERT_EQ(shape.first_tile(block), tiles) << block;
      const int last_row = min_of(block * kMapRows + kMapRows, tokens) - 1;
      EXPECT_GE(shape.tiles_of(block), key_tiles(last_row, tokens, kMaxQuerySpan - 1)) << block;
      tiles += shape.tiles_of(block);
    }
    EXPECT_EQ(shape.tiles(), tiles) << tokens;
  }
}

TEST(MapShape, RingsHaveAllTiles) {
  const MapShape shape = map_shape(100, 7, false);
  EXPECT_EQ(shape.ring(), 112);
  EXPECT_EQ(shape.first_tile(3), 21);
  EXPECT_EQ(shape.tiles_of(3), 7);
  EXPECT_EQ(shape.tiles(), 49);
}

TEST(MapShape, KeysLieInTilesAlsoBeforeTheFirst) {
  EXPECT_EQ(key_place(0), 0);
  EXPECT_EQ(key_place(63), 63);
  EXPECT_EQ(key_place(64), kMapTile);
  EXPECT_EQ(key_place(-8), 56 - kMapTile);
  EXPECT_EQ(row_place(17), kTileKeys);
}

TEST(KeyWindow, CoversTheBandOfEveryOutputInItsBlock) {
  for (int span = 1; span <= 32; ++span) {
    for (int left = 0; left < span; ++left) {
      const KeyWindow w = key_window(left, span);
      EXPECT_EQ(w.halo % kChunk, 0);
      EXPECT_GE(w.slack, 0);
      EXPECT_LE(w.slack + kChunk - 1 + span, kChunk * w.blocks);  // the last output's last tap
      EXPECT_LE(w.blocks, kMaxBlocks);
      const KeyWindow back = transposed(w);
      EXPECT_EQ(back.left, span - 1 - left);
      EXPECT_EQ(transposed(back).left, left);
    }
  }
}

}  // namespace
}  // namespace mta::kernels
